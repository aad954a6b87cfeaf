"""The folder in which a worker trains: that of the run in the store or, if the store is at a URL, one of its own.

At a URL nothing can be renamed or appended to. So the worker trains in a folder of its node, and each epoch is copied
to the URL when it is whole. A run that was stopped begins with what is at the URL.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.engine.store.folder import Folder
from jobs.engine.train.checkpoints import epoch_folders, is_whole, without_moments
from operators import remote
from operators.training.files import FACTS, LOSSES, MOMENTS
from operators.training.finetune import Finetune


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and the folder of this machine in which it is trained."""

    folder: Folder
    path: Path
    trainer: Finetune

    def keep(self, epoch: Path) -> None:
        """Copies an epoch to the URL of the run, and the losses up to it. Nothing happens in a folder of the store."""
        if self.folder.local:
            return
        # The losses first: a run that goes on cuts off those of an epoch that is not whole, and cannot make up others.
        self.folder.write(LOSSES, (self.path / LOSSES).read_bytes())
        remote.put(epoch, f"{self.folder.url}/{epoch.name}")
        if self.trainer.lora is None:  # they take twice the space of the weights
            for earlier in self.path.glob("epoch-*"):
                if earlier != epoch:
                    without_moments(self.folder.inner(earlier.name))


@contextmanager
def run_folder(url: str, trainer: Finetune) -> Iterator[RunFolder]:
    """The folder of a run to train in, while the block runs.

    url: the path or URL of the run. CacheFailed where the disk of this machine has no room.
    """
    folder = Folder(url)
    if folder.local:
        yield RunFolder(folder, Path(url), trainer)
        return
    runs = remote.cache() / "training"
    with remote.cached():
        runs.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f"{url.rpartition('/')[2]}-", dir=runs))
    try:
        _bring(folder, path, trainer)
        yield RunFolder(folder, path, trainer)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _bring(folder: Folder, path: Path, trainer: Finetune) -> None:
    """Brings the epochs up to the last one that a run can go on after: of the others only what was trained."""
    whole: list[Folder] = []
    for epoch in epoch_folders(folder, trainer):
        if not is_whole(epoch):
            break
        whole.append(epoch)
    last = max((at for at, epoch in enumerate(whole) if epoch.exists(MOMENTS)), default=-1)
    if len(whole) == trainer.epochs:  # there is nothing left to train
        last = len(whole) - 1
    for at, epoch in enumerate(whole[: last + 1]):
        here = path / epoch.url.rpartition("/")[2]
        here.mkdir()
        if at < last:
            (here / FACTS).write_bytes(epoch.content(FACTS))
            continue
        for file in remote.local_folder(epoch.url).iterdir():
            (here / file.name).symlink_to(file)
    if last >= 0:
        (path / LOSSES).write_bytes(folder.content(LOSSES))
