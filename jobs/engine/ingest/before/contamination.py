"""Contamination: samples that share an n-gram with a record of a test set."""

from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jobs.engine.ingest.before.ngrams import Grams, Hashing
from jobs.engine.ingest.before.rows import ASIDE, conversations, unmarked
from jobs.engine.ingest.dedup import Marks, Placed
from jobs.engine.ingest.faults import InputError, RecordFault
from jobs.engine.ingest.files.inputs import Source, silent, sources_of
from jobs.engine.ingest.files.splits import Split
from jobs.engine.ingest.files.streams import Range, file_at
from jobs.engine.ingest.parse import reader_of
from jobs.engine.ingest.records.records import record_of
from jobs.engine.ingest.records.values import decoded, literal
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import write_run

CONTAMINATED = "contaminated"


class Tests(NamedTuple):
    """The n-grams of test records."""

    hashes: np.ndarray
    """uint64, ascending, each once."""

    records: np.ndarray
    """int64: the first record with each."""

    places: list[str]
    """The file and line of each record."""


def contaminated_name(split: int) -> str:
    """The name of the interim file with the contaminated samples of a split."""
    return f"contaminated-{split:06d}.parquet"


def test_files(settings: IngestSettings) -> list[Source]:
    """Returns the files with test sets. InputError, which names the option, where one is not there."""
    if not settings.decontaminate:
        return []
    try:
        return sources_of(settings.decontaminate, silent)
    except InputError as error:
        raise InputError(f"--decontaminate {error}") from None


def refuse_unreadable_tests(settings: IngestSettings) -> None:
    """InputError, with the file and line, for the first test record that cannot be read, and for a file without any."""
    for source in test_files(settings):
        if not any(True for _ in [*_records([source], settings)]):
            raise InputError(f"--decontaminate {source.uri}: there is no record in this file")


def _records(sources: Sequence[Source], settings: IngestSettings) -> Iterator[tuple[str, Any]]:
    """Gives the place and the record of each test record."""
    for number, source in enumerate(sources):
        split = Split(number, source.uri, source.path, array=source.array)
        try:
            with file_at(source.path) as file:
                for piece in reader_of(split, Range(file), settings):
                    place = f"{source.uri}:{piece.line}" if piece.line else source.uri
                    try:
                        if piece.fault:
                            raise piece.fault
                        yield place, record_of(piece.raw, settings.max_nesting)
                    except RecordFault as fault:
                        raise InputError(f"--decontaminate {place}: {fault.kind}: {fault.message}") from None
        except OSError as error:
            raise InputError(f"--decontaminate {source.uri}: cannot be read: {error}") from error


def _texts(value: Any, passed_over: Set[str]) -> Iterator[str]:
    """The texts in a record, without those of bookkeeping fields.

    A text may hold a conversation as JSON or as Python writes it, with escapes in place of line ends and of what is not
    ASCII. The texts in it are given too.
    """
    if isinstance(value, str):
        yield value
        value = literal(decoded(decoded(value, "["), "{"))
    if isinstance(value, dict):
        for name, inner in value.items():
            if str(name).lower() not in passed_over:
                yield from _texts(inner, passed_over)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, passed_over)


def read_tests(sources: Sequence[Source], settings: IngestSettings) -> tuple[Tests, tuple[int, int]]:
    """Returns the n-grams of the test records; and the number of records, and of those without a text of n words."""
    hashing = Hashing(settings.ngram)
    places: list[str] = []
    hashes, records = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    short = 0
    for place, record in _records(sources, settings):
        found = [hashing.grams(text).hashes for text in _texts(record, settings.bookkeeping)]
        count = sum(map(len, found))
        short += not count
        hashes += found
        records.append(np.full(count, len(places)))
        places.append(place)
    distinct, first = np.unique(np.concatenate(hashes), return_index=True)  # the first place of each
    return Tests(distinct, np.concatenate(records)[first], places), (len(places), short)


def write_contaminated(split: Placed, marks: Marks, tests: Tests, n: int, interim: Folder) -> str:
    """Writes the samples of a split that share n words with a test record. Returns the name of the file."""
    hashing = Hashing(n)
    positions: list[int] = []
    messages: list[str] = []
    for here, table in unmarked(split, marks, interim, ["messages"]):
        for position, texts in zip(here.tolist(), conversations(table, ("tools",)), strict=True):
            found = next(filter(None, (_shared(hashing.grams(text), tests, n) for text in texts)), None)
            if found:
                positions.append(position)
                messages.append(found)
    columns = [
        pa.array(positions, pa.int64()),
        pa.repeat(CONTAMINATED, len(positions)),
        pa.array(messages, pa.string()),
    ]
    table = pa.Table.from_arrays(
        [column.cast(each.type) for column, each in zip(columns, ASIDE, strict=True)], schema=ASIDE
    )
    write_run(interim, contaminated_name(split.number), [table], ASIDE, "position")
    return contaminated_name(split.number)


def _shared(grams: Grams, tests: Tests, n: int) -> str:
    """Says which n words a text shares with which test record, the first in the text; empty for none."""
    if not len(grams.hashes) or not len(tests.hashes):
        return ""
    places = np.minimum(np.searchsorted(tests.hashes, grams.hashes), len(tests.hashes) - 1)
    hits = np.flatnonzero(tests.hashes[places] == grams.hashes)
    if not len(hits):
        return ""
    record = tests.places[tests.records[places[hits[0]]]]
    return f"shares {n} words or characters with {record}: {' '.join(grams.units[hits[0] : hits[0] + n])!r}"
