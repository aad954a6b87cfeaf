"""Where the checkpoints of training runs lie, and copying one out of the store.

    <store>/trained/Finetune-<fingerprint>/epoch-1/ …   the checkpoints (operators/training/files.py lists their files)
                                           losses.jsonl one line per step
                                           outcome.json what was trained on what; written when all epochs are there

The fingerprint is that of the trainer, the pool and the ids.
"""

import hashlib
import shutil
from pathlib import Path

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.samples.pool_folder import Samples
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import UsageError
from operators.base import canonical_json
from operators.training.files import LOSSES, MOMENTS, OUTCOMES
from operators.training.finetune import Finetune


def training_folder(samples: Samples, store: Store, trainer: Finetune, ids: np.ndarray) -> Path:
    """The folder of a run, whether it is there or not; ids ascending.

    UsageError where the store is not a folder on a file system.
    """
    identity = {
        "trainer": trainer.fingerprint(),
        "pool": samples.identity("conversation" if trainer.labels is None else "record"),
        "ids": hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest(),
    }
    fingerprint = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    return local_folder(store) / "trained" / f"{type(trainer).__name__}-{fingerprint[:16]}"


def epoch_folders(folder: Path, trainer: Finetune) -> list[Path]:
    """The folders that a run's epochs have, or will have, in order."""
    return [folder / f"epoch-{epoch}" for epoch in range(1, trainer.epochs + 1)]


def has_trainings(store: Store) -> bool:
    """Whether any training run has begun in the store."""
    return (local_folder(store) / "trained").is_dir()


def local_folder(store: Store) -> Path:
    """The store's folder; UsageError where the store is not a folder on a file system."""
    fs, root = fsspec.core.url_to_fs(store.url)
    if not isinstance(fs, LocalFileSystem):
        raise UsageError(
            f"checkpoints cannot be written to the store {store.url}: training wants a folder on a file system that "
            "all nodes share; give one by --store"
        )
    return Path(root).absolute()


def local_store(store: Store) -> Store:
    """The store itself; UsageError where it is not a folder on a file system."""
    local_folder(store)
    return store


def write_checkpoint(model: Path, run: Path, out: Path) -> None:
    """Copies a model's folder (such as an epoch's) and the losses of its run into a folder, each file whole.

    Adam's moments, twice the size of what was trained, and a classifier's outcomes stay in the store.
    """
    files = [path for path in sorted(model.iterdir()) if path.is_file() and path.name not in (MOMENTS, OUTCOMES)]
    for path in [*files, run / LOSSES]:
        temporary = out / f".{path.name}.tmp"
        try:
            shutil.copyfile(path, temporary)
            temporary.replace(out / path.name)
        finally:
            temporary.unlink(missing_ok=True)
