"""Writes the ledger, selection.parquet: what a run decided about each record. Tasks write its parts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.outcome.decided import Decided, decided
from jobs.engine.outcome.failures import Errors
from jobs.engine.outcome.quarantine import quarantined
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.pool.series import Values
from jobs.engine.samples.reading import read_samples
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError

KEPT, DROPPED, DUPLICATE, QUARANTINED = STATES = ("kept", "dropped", "duplicate", "quarantined")
FILE = "selection.parquet"
FILE_RECORDS = 1_000_000
"""The most records whose ledger is one file. Above, it is a folder of this name with part files."""
GROUP_ROWS = 65_536

LEDGER = [
    ("source", pa.string()),
    ("line", pa.int64()),
    ("id", pa.int64()),
    ("state", pa.string()),
    ("rank", pa.int64()),
    ("score", pa.float64()),
    ("reason", pa.string()),
]

LEDGER_OF_DUPLICATES = ("source", "line", "id")
NEARLY = "nearly"
"""With what the reason of a near duplicate begins."""

Tally = Counter[tuple[str, str]]
"""The number of records by state and reason. Those of duplicates have NEARLY or no reason here, and those of
quarantined records have none."""


Source = tuple[Callable[..., Iterator[pa.Table]], tuple]
"""A function that gives rows of the ledger, and its arguments; the schema comes after them."""


@dataclass(frozen=True)
class Dropped:
    """How many samples were dropped of those with these ids."""

    ids: range
    samples: int


@dataclass(frozen=True)
class Ledger:
    """What the ledger of a run says in numbers."""

    tally: Tally
    dropped: tuple[Dropped, ...]
    """The dropped samples of the pool, in slices by id."""

    def counts(self) -> dict[str, int]:
        """The number of records per state."""
        return {state: _count(state, self.tally) for state in STATES}


def ledger_in(out: Folder) -> ds.Dataset:
    """The rows of a ledger, whether it is one file or a folder of parts."""
    fs, root = out.opened()
    return ds.dataset(f"{root}/{FILE}", filesystem=fs, format="parquet")


def write_ledger(pool: Pool, chosen: Selection, errors: Errors, out: Folder, tasks: Tasks) -> Ledger:
    """Writes the ledger, with one row per input record, and returns its numbers.

    The pool's samples come first, by id; then the duplicates and the quarantined records, in the order in which they
    were read. The `id` of a record that ingest quarantined is null. The `id` of a duplicate is that of the sample that
    it repeats. WinnowError where the counts do not add up to the records of the pool.
    """
    records, folder, schema = pool.facts["records"], Folder(pool.folder), _schema(chosen.details)
    slices = [*decided(pool.parts, chosen)]
    sources: list[Source] = [(_samples, (each, errors)) for each in slices]
    sources += [(_duplicates, (folder, group)) for group in range(_duplicate_groups(folder))]
    sources.append((_quarantined, (folder,)))
    out.remove(FILE)  # a run that was killed may have left more parts than this one writes
    if records <= FILE_RECORDS:
        tallies: list[Tally] = fetched(tasks.started(_write, out, FILE, schema, sources))
    else:
        parts = out.inner(FILE)
        parts.make()
        calls = [(parts, f"part-{number:05d}.parquet", schema, [source]) for number, source in enumerate(sources)]
        tallies = [tally for (tally,) in tasks.results("wrote", _write, calls)]
    dropped = [Dropped(each.parts.ids(), _count(DROPPED, tally)) for each, tally in zip(slices, tallies, strict=False)]
    written = Ledger(sum(tallies, Counter()), tuple(dropped))
    counts = written.counts()
    if sum(counts.values()) != records or counts[KEPT] != len(chosen.ids):
        raise WinnowError(f"the ledger does not add up: {counts}, but {records} records were read")
    return written


def _count(state: str, tally: Tally) -> int:
    return sum(records for (each, _), records in tally.items() if each == state)


def _schema(details: Mapping[str, Values]) -> pa.Schema:
    further = [(name, pa.int64() if values.dtype.kind in "iu" else pa.float64()) for name, values in details.items()]
    return pa.schema([*LEDGER, *further])


def _write(folder: Folder, name: str, schema: pa.Schema, sources: Sequence[Source]) -> list[Tally]:
    """Writes the rows of some sources as a file, in row groups of GROUP_ROWS or a few more. Returns their numbers."""
    with folder.writing(name) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        return [_written(writer, rows(*arguments, schema)) for rows, arguments in sources]


def _written(writer: pq.ParquetWriter, tables: Iterable[pa.Table]) -> Tally:
    tally: Tally = Counter()
    for table in _joined(tables):
        writer.write_table(table, row_group_size=len(table))
        for state in table["state"].value_counts().to_pylist():
            if state["values"] in (DUPLICATE, QUARANTINED):
                tally[state["values"], ""] += state["counts"]
        repeating = table.filter(pc.field("state") == DUPLICATE)["reason"].to_pylist()
        if alike := sum(reason.startswith(NEARLY) for reason in repeating):
            tally[DUPLICATE, NEARLY] += alike
            tally[DUPLICATE, ""] -= alike
        decided = table.filter((pc.field("state") == KEPT) | (pc.field("state") == DROPPED))
        for row in decided.group_by(["state", "reason"]).aggregate([([], "count_all")]).to_pylist():
            tally[row["state"], row["reason"]] += row["count_all"]
    return tally


def _joined(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        held.append(table)
        rows += len(table)
        if rows >= GROUP_ROWS:
            yield pa.concat_tables(held)
            held, rows = [], 0
    if any(map(len, held)):
        yield pa.concat_tables(held)


def _samples(each: Decided, errors: Errors, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the samples in some parts."""
    ids = np.arange(each.parts.ids().start, each.parts.ids().stop)
    kept = np.isin(ids, each.kept)
    rank = np.zeros(len(ids), np.int64)
    rank[kept] = each.rank
    failed, texts = errors.failed(each.parts.ids(), each.kept)
    lost = np.isin(ids, failed)
    reason = pa.array(each.reasons, pa.string()).take(pa.array(each.reason))
    state = pa.array([DROPPED, KEPT, QUARANTINED]).take(pa.array(kept + 2 * lost))
    columns = {
        "state": state,
        "rank": pa.array(rank, mask=~kept),
        "score": _known(each.score[:]),
        "reason": pc.call_function("replace_with_mask", [reason, pa.array(lost), texts]),
        **{name: _known(values[:]) for name, values in each.details.items()},
    }
    begin = 0
    for table in read_samples(each.parts, ids, ["source", "line", "id"]):
        here = {name: column.slice(begin, len(table)) for name, column in columns.items()}
        found = {name: table[name] for name in table.column_names}
        yield pa.table({**found, **here}).select(schema.names).cast(schema)
        begin += len(table)


def _known(values: np.ndarray) -> pa.Array:
    """The values, null where they are NaN or, if they are integers, negative."""
    return pa.array(values, mask=values < 0 if values.dtype.kind in "iu" else np.isnan(values))


def _duplicate_groups(pool: Folder) -> int:
    """The number of row groups in a pool's duplicates.parquet."""
    with pool.reading("duplicates.parquet") as file:
        return pq.ParquetFile(file).num_row_groups


def _duplicates(pool: Folder, group: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the duplicates in a row group of the pool's file."""
    with pool.reading("duplicates.parquet") as file:
        for batch in pq.ParquetFile(file).iter_batches(GROUP_ROWS, row_groups=[group]):
            sample = pc.cast(batch["id"], pa.string())
            reason = pc.call_function("binary_join_element_wise", ["repeats sample", sample, " "])
            columns = {name: batch[name] for name in LEDGER_OF_DUPLICATES}
            if "jaccard" in batch.schema.names:
                reason = pa.array(map(_near, reason.to_pylist(), batch["jaccard"].to_pylist()), pa.string())
            yield _padded(batch.num_rows, DUPLICATE, schema, {**columns, "reason": reason})


def _near(reason: str, jaccard: float | None) -> str:
    return reason if jaccard is None else f"{NEARLY} {reason} (Jaccard {jaccard:.2f})"


def _quarantined(pool: Folder, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the records that ingest quarantined."""
    records = quarantined(pool)
    while held := list(islice(records, GROUP_ROWS)):
        columns = {name: [record.get(name) for record in held] for name in ("source", "line")}
        reason = [f"{record['reason']}: {record['message']}" for record in held]
        yield _padded(len(held), QUARANTINED, schema, {**columns, "reason": reason})


def _padded(rows: int, state: str, schema: pa.Schema, columns: Mapping[str, object]) -> pa.Table:
    full = {each.name: columns.get(each.name, pa.nulls(rows, each.type)) for each in schema}
    return pa.table({**full, "state": [state] * rows}, schema=schema)
