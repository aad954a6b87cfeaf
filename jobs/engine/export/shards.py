"""The kept records as parquet shards: with the schema of their files, or with the one that their values have."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.export.kept import Kept
from jobs.engine.outcome.selected_rows import FILE as ROWS_FILE
from jobs.engine.store.folder import Folder
from operators.sample import spelled

SHARD_BYTES = 256 << 20
BATCH = 4096
UNFIT = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError)
"""The errors of values that have no type in common, or that no column can hold."""


def write_shards(kept: Kept, out: Folder) -> list[str]:
    """Writes data/train-00000-of-00001.parquet and so on, best first. Returns the columns written as JSON text.

    The rows of selected.parquet are written where the run left it. Of other records the fields become columns; a field
    whose values have no type in common becomes JSON text.
    """
    data = out.inner("data")
    data.make()
    if kept.folder.exists(ROWS_FILE):
        with kept.folder.reading(ROWS_FILE) as file:
            rows = pq.ParquetFile(file)
            tables = (pa.Table.from_batches([each]) for each in rows.iter_batches(BATCH))
            _write(data, tables, rows.schema_arrow, kept.count, file.seek(0, 2))
        return []
    schema = _schema(kept)
    texts = [field.name for field in schema if field.metadata]
    plain = pa.schema([field.remove_metadata() for field in schema])
    with kept.folder.reading("selected.jsonl") as file:
        size = file.seek(0, 2)
    _write(data, (_table(batch, plain, texts) for batch in _batches(kept)), plain, kept.count, size)
    return texts


def _batches(kept: Kept) -> Iterator[Sequence[dict[str, Any]]]:
    records = (record for _, record in kept.records())
    while batch := list(islice(records, BATCH)):
        yield batch


def _schema(kept: Kept) -> pa.Schema:
    """A column for each field, in the order in which fields are met. One of JSON text has metadata."""
    types: dict[str, pa.DataType | None] = {}
    widened: set[str] = set()
    for batch in _batches(kept):
        for name in dict.fromkeys(name for record in batch for name in record):
            before = types.get(name, pa.null())
            types[name] = _common(before, [record.get(name) for record in batch])
            widened |= {name} if before not in (pa.null(), types[name]) else set()
    # A large integer does not fit the fractions of a later batch, which its own batch could not know.
    for batch in _batches(kept) if widened else ():
        for name in widened:
            if (kind := types[name]) and not _holds(kind, [record.get(name) for record in batch]):
                types[name] = None
    return pa.schema(
        [pa.field(name, kind or pa.string(), metadata=None if kind else {"json": ""}) for name, kind in types.items()]
    )


def _holds(kind: pa.DataType, values: Sequence[Any]) -> bool:
    try:
        pa.array(values, kind)
    except UNFIT:
        return False
    return True


def _common(before: pa.DataType | None, values: Sequence[Any]) -> pa.DataType | None:
    """The type of these values and of those before; None where there is none that a parquet file can hold."""
    if before is None:
        return None
    try:
        found = pa.array(values).type
        fields = [pa.schema([("", each)]) for each in (before, found)]
        return None if _is_empty(found) else pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except UNFIT:
        return None


def _is_empty(kind: pa.DataType) -> bool:
    """Whether a type has an object without fields, which parquet cannot hold."""
    if pa.types.is_struct(kind) and not kind.num_fields:
        return True
    return any(_is_empty(kind.field(at).type) for at in range(kind.num_fields))


def _table(records: Sequence[dict[str, Any]], schema: pa.Schema, texts: Sequence[str]) -> pa.Table:
    def column(field: pa.Field) -> pa.Array:
        values = [record.get(field.name) for record in records]
        if field.name in texts:
            values = [None if each is None else spelled(each) for each in values]
        return pa.array(values, field.type)

    return pa.Table.from_arrays([column(field) for field in schema], schema=schema)


def _write(data: Folder, tables: Iterator[pa.Table], schema: pa.Schema, rows: int, size: int) -> None:
    """Writes the rows in shards of equal numbers; size: their bytes in the run's folder."""
    most = math.ceil(rows / math.ceil(size / SHARD_BYTES))
    shards = math.ceil(rows / most)
    left = next(tables)
    for number in range(shards):
        name = f"train-{number:05d}-of-{shards:05d}.parquet"
        with data.writing(name) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            room = most
            while room and left is not None:
                part = left.slice(0, room)
                writer.write_table(part.cast(schema))
                room -= len(part)
                left = left.slice(len(part)) if len(part) < len(left) else next(tables, None)
