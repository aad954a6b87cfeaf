"""Writes what a run decided about each record: selected.jsonl, selection.parquet and quarantine.jsonl."""

import json
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.samples.reading import read_samples
from jobs.engine.store.feature import ERROR
from jobs.engine.store.folder import Folder, opened
from jobs.engine.terminal.errors import WinnowError

KEPT, DROPPED, DUPLICATE, QUARANTINED = STATES = ("kept", "dropped", "duplicate", "quarantined")
KEPT_AT_ONCE = 100_000
RECORDS_A_BLOCK = 65_536

LEDGER = [
    ("source", pa.string()),
    ("line", pa.int64()),
    ("id", pa.int64()),
    ("state", pa.string()),
    ("rank", pa.int64()),
    ("score", pa.float64()),
    ("reason", pa.string()),
]


def write_selected(pool: Pool, ids: np.ndarray, out: Folder) -> None:
    """Writes the original records with these ids, in this order, one per line.

    The records are written KEPT_AT_ONCE at a time, with one pass over the pool each, so that memory is bounded.
    """
    with out.writing("selected.jsonl") as file:
        for start in range(0, len(ids), KEPT_AT_ONCE):
            ranked = ids[start : start + KEPT_AT_ONCE]
            by_id = np.argsort(ranked)
            tables = list(read_samples(pool.parts, ranked[by_id], ["raw"]))
            raws = pa.concat_tables(tables)["raw"].take(pa.array(np.argsort(by_id)))
            for raw in raws:
                file.write(raw.as_py() + b"\n")


def failures(chosen: Selection) -> dict[int, str]:
    """The column and the error, as one string, of each sample that an operator failed on, by id.

    Kept samples are left out; a sample with several errors has the one of the first column.
    """
    failed: dict[int, str] = {}
    kept = set(chosen.ids.tolist())
    for name, feature in chosen.features.items():
        if not (feature.states(len(chosen.reason)) == ERROR).any():
            continue
        for sample, error in feature.errors():
            if sample not in kept:
                failed.setdefault(sample, f"{name}: {error}")
    return failed


def write_ledger(pool: Pool, chosen: Selection, failed: Mapping[int, str], out: Folder) -> dict[str, int]:
    """Writes selection.parquet, with one row per input record, and returns the number of records per state.

    The pool's samples come first, by id; then the duplicates and the quarantined records, in the order in which they
    were read. The `id` of a record that ingest quarantined is null. The `id` of a duplicate is that of the sample that
    it repeats. WinnowError where the counts do not add up to the records of the pool.
    """
    extra = [
        (name, pa.int64() if values.dtype.kind in "iu" else pa.float64()) for name, values in chosen.details.items()
    ]
    schema = pa.schema([*LEDGER, *extra])
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    with out.writing("selection.parquet") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in _rows(pool, chosen, failed, schema):
                for state in table["state"].value_counts().to_pylist():
                    counts[state["values"]] += state["counts"]
                writer.write_table(table)
        if sum(counts.values()) != pool.facts["records"] or counts[KEPT] != len(chosen.ids):
            raise WinnowError(f"the ledger does not add up: {counts}, but {pool.facts['records']} records were read")
    return counts


def _rows(pool: Pool, chosen: Selection, failed: Mapping[int, str], schema: pa.Schema) -> Iterator[pa.Table]:
    rank = np.zeros(pool.samples, np.int64)
    rank[chosen.ids] = np.arange(1, len(chosen.ids) + 1)
    reasons = np.array(chosen.reasons, object)
    lost = np.array(sorted(failed), np.int64)
    for table in read_samples(pool.parts, np.arange(pool.samples), ["id", "source", "line"]):
        ids = table["id"].to_numpy()
        kept = rank[ids] > 0
        state = np.where(kept, KEPT, DROPPED).astype(object)
        reason = reasons[chosen.reason[ids]]
        for row in np.flatnonzero(np.isin(ids, lost)):
            state[row], reason[row] = QUARANTINED, failed[ids[row]]
        score = chosen.score[ids]
        columns = {
            "source": table["source"],
            "line": table["line"],
            "id": table["id"],
            "state": state,
            "rank": pa.array(rank[ids], mask=~kept),
            "score": pa.array(score, mask=np.isnan(score)),
            "reason": reason,
        }
        for name, values in chosen.details.items():
            held = values[ids]
            unknown = held < 0 if held.dtype.kind in "iu" else np.isnan(held)
            columns[name] = pa.array(held, mask=unknown)
        yield pa.table(columns, schema=schema)
    yield from _set_aside(pool, schema)


def _set_aside(pool: Pool, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the records that did not become samples: the duplicates and the quarantined records."""
    fs, root = opened(pool.folder)
    with fs.open(f"{root}/duplicates.parquet", "rb") as file:
        for batch in pq.ParquetFile(file).iter_batches(RECORDS_A_BLOCK):
            reason = [f"repeats sample {sample}" for sample in batch["id"].to_pylist()]
            yield _padded(
                batch.num_rows,
                DUPLICATE,
                schema,
                source=batch["source"],
                line=batch["line"],
                id=batch["id"],
                reason=reason,
            )
    held: list[dict] = []
    for record in quarantined(pool):
        held.append(record)
        if len(held) == RECORDS_A_BLOCK:
            yield _quarantine_table(held, schema)
            held.clear()
    if held:
        yield _quarantine_table(held, schema)


def _quarantine_table(records: list[dict], schema: pa.Schema) -> pa.Table:
    columns = {name: [record.get(name) for record in records] for name in ("source", "line")}
    reason = [f"{record['reason']}: {record['message']}" for record in records]
    return _padded(len(records), QUARANTINED, schema, reason=reason, **columns)


def _padded(rows: int, state: str, schema: pa.Schema, **columns: object) -> pa.Table:
    full = {each.name: columns.get(each.name, pa.nulls(rows, each.type)) for each in schema}
    return pa.table({**full, "state": [state] * rows}, schema=schema)


def quarantined(pool: Pool) -> Iterator[dict]:
    """The records that ingest quarantined, as dicts with the fields of quarantine.jsonl."""
    fs, root = opened(pool.folder)
    with fs.open(f"{root}/quarantine.jsonl", "rb") as file:
        for line in file:
            yield json.loads(line)


def write_quarantine(pool: Pool, failed: Mapping[int, str], out: Folder) -> None:
    """Writes quarantine.jsonl: the records that ingest quarantined, then the samples that an operator failed on."""
    with out.writing("quarantine.jsonl") as joined, Folder(pool.folder).reading("quarantine.jsonl") as file:
        while block := file.read(1 << 20):
            joined.write(block)
        for table in read_samples(pool.parts, np.array(sorted(failed), np.int64), ["id", "source", "line", "raw"]):
            for row in table.to_pylist():
                raw = row.pop("raw").decode()
                name, _, message = failed[row["id"]].partition(": ")
                record = {**row, "reason": name, "message": message, "raw": raw}
                joined.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
