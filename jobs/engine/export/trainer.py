"""Writes the folder for a trainer: the data, a record a line, and a configuration that names it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.engine.export.kept import Kept
from jobs.engine.export.layouts import layout_of, shape_of
from jobs.engine.export.parts import Unfit, text_of
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import NothingSelected, UsageError
from operators.sample import spelled


@dataclass(frozen=True)
class Exported:
    """What was written."""

    data: str
    """The path or URL of the data."""
    configuration: str
    """The path or URL of the configuration."""
    written: int
    left_out: dict[str, tuple[int, int]]
    """For each reason why samples do not fit, how many there are, and the line of the first one."""
    media: dict[str, int]
    """The number of images, audios and videos of the samples that were written, which the data does not have."""


@contextmanager
def new_folder(out: Folder) -> Iterator[None]:
    """Makes a folder that is filled in the block, and removes it if the block raises. UsageError if it has files."""
    if out.names():
        raise UsageError(f"--out {out} exists already; name another folder")
    out.make()
    try:
        yield
    except BaseException:
        out.remove()
        raise


def export_for(trainer: str, kept: Kept, out: Folder) -> Exported:
    """Writes the kept samples, best first, in the layout of a trainer, and its configuration.

    UsageError where the folder has files already, NothingSelected where no sample fits.
    """
    layout = layout_of(trainer, shape_of(kept))
    file = f"{kept.name}.jsonl"
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    media: Counter[str] = Counter()
    with new_folder(out):
        with out.writing(file) as data:
            for sample in kept.samples():
                try:
                    record = layout.record(sample)
                except Unfit as reason:
                    counts[str(reason)] += 1
                    first.setdefault(str(reason), sample.line)
                    continue
                media.update(sample.media)
                data.write(spelled(text_of(record)).encode() + b"\n")
        written = kept.count - counts.total()
        left_out = {reason: (count, first[reason]) for reason, count in counts.most_common()}
        if not written:
            raise NothingSelected(f"none of the {kept.count:,} kept samples fits {trainer}: {next(iter(left_out))}")
        name, configuration = layout.configuration(out.file(file), file, kept.name)
        out.write(name, configuration.encode())
    return Exported(out.file(file), out.file(name), written, left_out, dict(sorted(media.items())))
