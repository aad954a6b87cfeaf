"""An epoch as a whole model: its adapter is merged into the base, for what reads no adapters (a Scorer, vLLM).

<store>/trained/<run>/whole/epoch-3/    weights, configuration, tokenizer
"""

import shutil
from dataclasses import replace
from pathlib import Path

import ray
from ray.exceptions import RayTaskError

from jobs.engine.execute.gpus import hide_other_gpus
from jobs.engine.terminal.errors import WinnowError
from operators.checkpoint import Checkpoint
from operators.training.files import MOMENTS
from operators.training.finetune import Finetune


def whole_model(trainer: Finetune, epoch: Checkpoint) -> Checkpoint:
    """An epoch's whole model.

    An adapter is merged into its base and stored beside the epochs, once. WinnowError where that fails.
    """
    if trainer.lora is None:
        return epoch
    path = Path(epoch.name)
    folder = path.parent / "whole" / path.name
    if not folder.is_dir():
        try:
            ray.get(_merged.remote(trainer, path, folder))
        except RayTaskError as error:
            raise WinnowError(f"the adapter in {path} could not be added to its base: {error.cause}") from error
    return Checkpoint(str(folder))


@ray.remote(num_cpus=1, max_retries=0)
def _merged(trainer: Finetune, epoch: Path, folder: Path) -> None:
    hide_other_gpus()
    from operators.training.model import trained_model  # noqa: PLC0415 - torch is for the worker

    half = folder.with_name(f".{folder.name}")
    shutil.rmtree(half, ignore_errors=True)
    # In float32: bfloat16 would round the small values of an adapter away.
    model = trained_model(replace(trainer, precision="float32"), epoch).merge_and_unload()
    model.save_pretrained(half)
    for path in epoch.iterdir():
        if not path.name.startswith("adapter_") and path.name != MOMENTS:
            shutil.copyfile(path, half / path.name)
    half.rename(folder)
