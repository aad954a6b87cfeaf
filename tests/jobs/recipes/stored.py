"""What a recipe asks for, put into the store as if it had been computed: features, and trainings that have ended.

A recipe that asks for another operator, another training or other samples finds nothing there.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from jobs.engine.execute.columns import column
from jobs.engine.pool.pool import Pool
from jobs.engine.train.checkpoints import epoch_folders, training_folder
from operators.base import Operator
from operators.training.files import FACTS, OUTCOMES
from operators.training.finetune import Finetune


def put_values(pool: Pool, operator: Operator, given: Sequence[Any]) -> None:
    """Stores a value, or a RowError, of each sample, in two parts."""
    feature = pool.session.store.feature(operator, pool.origin.identity(operator.belongs_to()))
    values, errors = column(given, pool.samples, operator.gives)
    for ids in np.array_split(np.arange(pool.samples), 2):
        part = values.take(pa.array(ids))
        feature.write(ids, pa.nulls(len(ids), pa.binary(16)), part, [errors[at] for at in ids])


def put_training(pool: Pool, trainer: Finetune, ids: Sequence[int]) -> list[Path]:
    """The folders of the epochs of a training on these samples, which is there as far as a recipe can tell.

    No two epochs have the same content, so that what is asked of one of them is not found for another.
    """
    folder = training_folder(pool.origin, pool.session.store, trainer, np.sort(np.asarray(ids, np.int64)))
    epochs = [Path(each.url) for each in epoch_folders(folder, trainer)]
    config, weights = ("config", "model") if trainer.lora is None else ("adapter_config", "adapter_model")
    for number, epoch in enumerate(epochs, start=1):
        epoch.mkdir(parents=True)
        (epoch / f"{config}.json").write_text(json.dumps({"training": epoch.parent.name, "epoch": number}))
        save_file({"weight": np.zeros(1, np.float32)}, epoch / f"{weights}.safetensors")
        (epoch / FACTS).write_text("{}")
    outcome = {"samples": len(ids), "batch": 1, "max_tokens": 1, "left_out": {}, "truncated": 0, "loss": 0.5}
    folder.write("outcome.json", json.dumps({"outcome": outcome}).encode())
    return epochs


def put_outcomes(epochs: Sequence[Path], ids: Sequence[int], rights: Sequence[Sequence[int]]) -> None:
    """What a classifier predicted correctly in each epoch, of samples that came in another order each time."""
    for number, (epoch, right) in enumerate(zip(epochs, rights, strict=True)):
        order = np.random.default_rng(number).permutation(len(ids))
        save_file({"id": np.array(ids)[order], "right": np.array(right, np.uint8)[order]}, epoch / OUTCOMES)


def computed(pool: Pool) -> int:
    """How many values have been computed in the pool's session, and how many samples have been trained on."""
    return sum(entry.get("computed", 0) for entry in pool.session.log)
