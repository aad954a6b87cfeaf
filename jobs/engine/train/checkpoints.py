"""Where the checkpoints of training runs lie, and copying one out of the store.

    <store>/trained/Finetune-<fingerprint>/epoch-1/ …   the checkpoints (operators/training/files.py lists their files)
                                           losses.jsonl one line per step
                                           outcome.json what was trained on what; written when all epochs are there

The fingerprint is that of the trainer, the pool and the ids. A checkpoint is whole where it has its name; at a URL,
where it has the list of its files (operators/remote.py).
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from jobs.engine.samples.pool_folder import Samples
from jobs.engine.samples.runs import ids_digest
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from operators import remote
from operators.base import canonical_digest
from operators.checkpoint import Checkpoint
from operators.training.files import LOSSES, MOMENTS, OUTCOMES
from operators.training.finetune import Finetune

BLOCK = 1 << 24


def training_folder(samples: Samples, store: Store, trainer: Finetune, ids: np.ndarray) -> Folder:
    """The folder of a run, whether it is there or not; ids ascending."""
    identity = {
        "trainer": trainer.fingerprint(),
        "pool": samples.identity("conversation" if trainer.labels is None else "record"),
        "ids": ids_digest(ids),
    }
    fingerprint = canonical_digest(identity)
    return Folder(f"{store.url}/trained/{type(trainer).__name__}-{fingerprint[:16]}")


def epoch_folders(folder: Folder, trainer: Finetune) -> list[Folder]:
    """The folders that a run's epochs have, or will have, in order."""
    return [folder.inner(f"epoch-{epoch}") for epoch in range(1, trainer.epochs + 1)]


def is_whole(checkpoint: Folder) -> bool:
    """Whether a checkpoint is there with all its files."""
    return checkpoint.exists() if checkpoint.local else remote.whole(checkpoint.url)


def has_trainings(store: Store) -> bool:
    """Whether any training run has begun in the store."""
    return Folder(f"{store.url}/trained").exists()


def without_moments(epoch: Folder) -> None:
    """Removes Adam's moments from an epoch, if it has them."""
    if epoch.local:
        epoch.remove(MOMENTS)
    elif is_whole(epoch):
        remote.remove_file(epoch.url, MOMENTS)


def write_checkpoint(
    epoch: Checkpoint, out: Folder, model: Checkpoint | None = None, further: Mapping[str, bytes] | None = None
) -> None:
    """Copies an epoch's model and the losses of its run into a folder, each file whole.

    model: the model that is copied, if it is not that of the epoch's folder, such as the whole model of an adapter.
    further: the contents of further files of the model, by name. Adam's moments, twice the size of what was trained,
    and a classifier's outcomes stay in the store.
    """
    source = Folder((model or epoch).name)
    run = Folder(epoch.name.rpartition("/")[0])
    if not out.local:
        remote.withdraw(out.url)
    found = {name: _copied(source, out, name) for name in _files(source) if name not in (MOMENTS, OUTCOMES)}
    found[LOSSES] = _copied(run, out, LOSSES)
    for name, content in (further or {}).items():
        out.write(name, content)
        found[name] = (len(content), hashlib.sha256(content).hexdigest())
    if not out.local:
        remote.put_listing(out.url, found)


def _files(folder: Folder) -> list[str]:
    """The names of the files in a folder, without hidden ones."""
    fs, root = folder.opened()
    listed = fs.ls(root, detail=True)
    names = [each["name"].rsplit("/", 1)[-1] for each in listed if each["type"] == "file"]
    return sorted(name for name in names if not name.startswith("."))


def _copied(source: Folder, out: Folder, name: str) -> tuple[int, str]:
    """Copies a file. Returns its size in bytes and the SHA-256 of its content."""
    size, digest = 0, hashlib.sha256()
    with source.reading(name) as file, out.writing(name) as copy:
        while block := file.read(BLOCK):
            copy.write(block)
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
