"""The files of a training run, and what can be read of an epoch without loading its model.

folder/losses.jsonl                   one line per step: step, epoch, loss, learning_rate, tokens (trained on)
folder/epoch-1/adapter_model.safetensors, adapter_config.json    or, without LoRA, model*.safetensors, config.json
               tokenizer files
               adam.safetensors       exp_avg.<parameter>, exp_avg_sq.<parameter>: Adam's moments, float32; without
                                      LoRA a command keeps at most those of the last epoch
               outcomes.safetensors   of a classifier: id, and right (whether each sample's class was predicted)
               training.json          what was trained, on how much, and the learning rate of each step
"""

import json
from typing import Any

import numpy as np

from operators.checkpoint import Checkpoint

LOSSES = "losses.jsonl"
MOMENTS = "adam.safetensors"
OUTCOMES = "outcomes.safetensors"
FACTS = "training.json"


def epoch_facts(epoch: Checkpoint) -> dict[str, Any]:
    """The content of an epoch's training.json: loss, learning_rate (the mean over its steps) and more."""
    return json.loads(epoch.file(FACTS).read_text())


def epoch_outcomes(epoch: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """Which samples a classifier predicted correctly in an epoch of its training.

    Returns the samples' ids, (samples,) int64, ascending, and whether each was predicted correctly, (samples,) bool.
    A sample is predicted before the step that it is part of, with dropout.
    """
    from safetensors.numpy import load_file

    stored = load_file(epoch.file(OUTCOMES))
    order = np.argsort(stored["id"])
    return stored["id"][order], stored["right"][order].astype(bool)
