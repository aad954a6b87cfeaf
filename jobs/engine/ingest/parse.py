"""The first pass: reads a split of a file into samples, their keys, and quarantined records."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from jobs.engine.ingest.faults import FileFault, Piece, RecordFault
from jobs.engine.ingest.files.archives import Members
from jobs.engine.ingest.files.elements import Elements
from jobs.engine.ingest.files.forms import HEAD_BYTES, decompressed_text, form_of
from jobs.engine.ingest.files.lines import Lines
from jobs.engine.ingest.files.parquet import Batches, Rows
from jobs.engine.ingest.files.splits import Split
from jobs.engine.ingest.files.streams import Range, file_at
from jobs.engine.ingest.files.tables import Table
from jobs.engine.ingest.records.quarantine import Quarantine
from jobs.engine.ingest.records.records import compact, samples_of
from jobs.engine.ingest.records.trees import whole_trees
from jobs.engine.ingest.row_groups import InterimWriter
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.store.folder import Folder
from operators.sample import Message, said

EXAMPLE_MESSAGES = 6
EXAMPLE_CHARACTERS = 300


@dataclass(frozen=True)
class Parsed:
    """What the first pass found in a split, whose samples are in the interim files of its number."""

    samples: int
    lines: int
    """The number of lines or rows in the split: those of the next split are counted on from it."""

    bytes: int
    digest: str
    formats: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    """The number of quarantined records, by reason."""

    form: str = ""
    """The kind of the file; empty where it is none that can be read."""

    made: int = 0
    """The number of samples whose records were made of a part of a record, such as the paths of a tree."""

    media: dict[str, int] = field(default_factory=dict)
    """The number of images, audios and videos of its samples, by kind."""

    examples: dict[str, list[Message]] = field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """The number of quarantined records."""
        return sum(self.kinds.values())


class Reader(Protocol):
    """Gives the pieces of a split, in order."""

    def __iter__(self) -> Iterator[Piece]: ...


def rows_name(number: int) -> str:
    """The name of the interim file with the samples of a split."""
    return f"rows-{number:06d}.parquet"


def keys_name(number: int) -> str:
    """The name of the interim file with the hashes by which duplicates of a split are found."""
    return f"keys-{number:06d}.parquet"


def quarantine_name(number: int) -> str:
    """The name of the interim file with the quarantined records of a split."""
    return f"quarantine-{number:06d}.txt"


def left_out_name(number: int) -> str:
    """The name of the interim file with the samples of a split that are set aside."""
    return f"left-out-{number:06d}.txt"


def parse_split(split: Split, number: int, settings: IngestSettings, interim: Folder) -> Parsed:
    """Reads one split and writes its interim files, the same ones each time. Returns what it found."""
    with file_at(split.path) as file:
        hashed = Range(file, split.start, split.stop)
        reader = reader_of(split, hashed, settings)
        with (
            interim.writing(rows_name(number)) as rows,
            interim.writing(keys_name(number)) as keys,
            interim.writing(quarantine_name(number)) as refused,
            closing(InterimWriter(rows, keys)) as writer,
        ):
            quarantine = Quarantine(refused)
            found = _parsed(reader, settings, writer, quarantine)
        if isinstance(reader, SEEKING):
            file.seek(hashed.at)
        digest = hashed.digest()
    lines = reader.count if isinstance(reader, Lines | Rows) else 0  # only these are read in several splits
    size = hashed.at if split.stop is None else split.stop - split.start
    return Parsed(
        writer.count,
        lines,
        size,
        digest,
        dict(found.formats),
        quarantine.kinds,
        FORMS.get(type(reader), ""),
        found.made,
        dict(found.media),
        found.examples,
    )


@dataclass
class _Found:
    """What is counted while a split is read."""

    formats: Counter[str] = field(default_factory=Counter)
    media: Counter[str] = field(default_factory=Counter)
    made: int = 0
    examples: dict[str, list[Message]] = field(default_factory=dict)


def _parsed(reader: Reader, settings: IngestSettings, writer: InterimWriter, quarantine: Quarantine) -> _Found:
    found = _Found()
    elements = isinstance(reader, Elements | Members)
    for piece in reader if settings.columns else whole_trees(reader):
        if piece.fault:
            quarantine.add(piece, piece.fault)
            continue
        try:
            samples = samples_of(piece.raw, settings, piece.opaque)
        except RecordFault as fault:
            quarantine.add(piece, fault)
            continue
        for sample in samples:
            raw = sample.raw or (compact(piece.raw) if elements else piece.raw)
            writer.add(piece.line, sample.messages, sample.hashes, raw, sample.rejected, sample.label, sample.media)
            found.formats[sample.format] += 1
            found.made += sample.raw is not None
            if sample.media:
                found.media.update(sample.media)
            if sample.format not in found.examples:
                found.examples[sample.format] = example_of(sample.messages)
    return found


def example_of(messages: list[Message]) -> list[Message]:
    """Returns the first messages of a sample, shortened for display."""
    return [{"role": message["role"], "content": _cut(said(message))} for message in messages[:EXAMPLE_MESSAGES]]


def _cut(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…"


def reader_of(split: Split, hashed: Range, settings: IngestSettings) -> Reader:
    """Returns the reader for a split. The head of a file that was not looked at yet decides which one."""
    limit = settings.max_record_bytes
    if split.form and split.form.kind == "lines":
        return Lines(iter(hashed), limit, start=split.start, stop=split.stop)
    blocks = iter(hashed)
    first = b"" if split.form else next(blocks, b"")
    try:
        form = split.form or form_of(first[:HEAD_BYTES], split.uri)
    except FileFault as fault:
        return _Unreadable(fault)
    if form is None:
        return _Unreadable(FileFault("unknown_form", "neither the head of the file nor its name says what is in it"))
    if form.kind in TABULAR:
        return TABULAR[form.kind](hashed.file, limit, split.row_groups)
    if form.kind == "tar":
        hashed.file.seek(0)
        return Members(hashed.file, limit)
    blocks = decompressed_text(chain([first], blocks), form, settings.max_expansion)
    if form.kind == "lines":
        return Lines(blocks, limit)
    return Elements(blocks, limit, split.array) if form.kind == "elements" else Table(blocks, limit, form.delimiter)


TABULAR = {"parquet": Rows, "arrow": Batches}
SEEKING = (Rows, Batches, Members)
FORMS: dict[type, str] = {Rows: "parquet", Batches: "arrow"}


class _Unreadable:
    """Gives the fault of a file."""

    def __init__(self, fault: FileFault):
        self.fault = fault

    def __iter__(self) -> Iterator[Piece]:
        yield Piece(None, b"", self.fault)
