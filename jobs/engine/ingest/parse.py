"""The first pass: reads a split of a file into samples, their keys, and quarantined records."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO, Protocol, cast

import fsspec

from jobs.engine.ingest.faults import FileFault, Piece, RecordFault
from jobs.engine.ingest.files.elements import TOKEN, Elements
from jobs.engine.ingest.files.lines import BOM, Lines
from jobs.engine.ingest.files.parquet import Rows
from jobs.engine.ingest.files.splits import Split
from jobs.engine.ingest.files.streams import Range, decompressed
from jobs.engine.ingest.folder import Folder
from jobs.engine.ingest.records.quarantine import Quarantine
from jobs.engine.ingest.records.records import compact, samples_of
from jobs.engine.ingest.row_groups import InterimWriter
from jobs.engine.ingest.settings import MIB, IngestSettings
from operators.sample import Message, said

EXAMPLE_MESSAGES = 6
EXAMPLE_CHARACTERS = 300
FIRST_LINE_LOOKED_AT = MIB


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


def parse_split(split: Split, number: int, settings: IngestSettings, interim: Folder) -> Parsed:
    """Reads one split and writes its interim files, the same ones each time. Returns what it found."""
    with fsspec.open(split.path, "rb") as opened:
        file = cast(BinaryIO, opened)
        hashed = Range(file, split.start, split.stop)
        reader = reader_of(split, hashed, settings)
        with (
            interim.writing(rows_name(number)) as rows,
            interim.writing(keys_name(number)) as keys,
            interim.writing(quarantine_name(number)) as refused,
            closing(InterimWriter(rows, keys)) as writer,
        ):
            quarantine = Quarantine(refused)
            formats, examples = _parsed(reader, settings, writer, quarantine)
        if isinstance(reader, Rows):
            file.seek(hashed.at)
        digest = hashed.digest()
    lines = reader.count if isinstance(reader, Lines | Rows) else 0
    size = hashed.at if split.stop is None else split.stop - split.start
    return Parsed(writer.count, lines, size, digest, dict(formats), quarantine.kinds, examples)


def _parsed(
    reader: Reader, settings: IngestSettings, writer: InterimWriter, quarantine: Quarantine
) -> tuple[Counter[str], dict[str, list[Message]]]:
    formats: Counter[str] = Counter()
    examples: dict[str, list[Message]] = {}
    elements = isinstance(reader, Elements)
    for piece in reader:
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
            writer.add(piece.line, sample.messages, sample.hashes, raw)
            formats[sample.format] += 1
            if sample.format not in examples:
                examples[sample.format] = example_of(sample.messages)
    return formats, examples


def example_of(messages: list[Message]) -> list[Message]:
    """Returns the first messages of a sample, shortened for display."""
    return [{"role": message["role"], "content": _cut(said(message))} for message in messages[:EXAMPLE_MESSAGES]]


def _cut(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…"


def reader_of(split: Split, hashed: Range, settings: IngestSettings) -> Reader:
    """Returns the reader for a split. The first line of a .json file decides whether lines or elements are read."""
    limit = settings.max_record_bytes
    if split.form == "parquet":
        return Rows(hashed.file, limit, split.row_groups)
    blocks = decompressed(iter(hashed), split.compression, settings.max_expansion)
    if split.form == "lines":
        return Lines(blocks, limit, start=split.start, stop=split.stop)
    head, fault = _head(blocks)
    rest = chain([head], _raising(fault) if fault else blocks)
    return Lines(rest, limit) if in_lines(head) else Elements(rest, limit)


def _head(blocks: Iterator[bytes]) -> tuple[bytes, FileFault | None]:
    """Returns the beginning of a file, up to at least its first line that is not blank, and the fault that ended it."""
    head = b""
    try:
        for block in blocks:
            head += block
            begin = head.removeprefix(BOM).lstrip()
            if b"\n" in begin[:-1] or len(head) > FIRST_LINE_LOOKED_AT:
                break
    except FileFault as fault:
        return head, fault
    return head, None


def _raising(fault: FileFault) -> Iterator[bytes]:
    raise fault
    yield b""  # what makes this a generator


def in_lines(head: bytes) -> bool:
    """Whether a .json file holds one record per line, judged by its beginning.

    An array begins with a bracket. A file holds lines if its first object ends on its line, or if the next line begins
    another object. Otherwise the object is printed over several lines.
    """
    begin = head.removeprefix(BOM).lstrip()
    if begin[:1] == b"[":
        return False
    if begin[:1] != b"{":
        return bool(begin)
    line, end, after = begin.partition(b"\n")
    if not end or after[:1] == b"{":
        return True
    depth = 0
    for token in TOKEN.findall(line):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token, 0)
    return depth <= 0
