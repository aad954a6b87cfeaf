"""The rows of a parquet file as JSON records.

Fields are in schema order. Dates and times are ISO 8601 strings, durations seconds, decimals strings, binary values
base64, maps lists of [key, value]; NaN and infinities, which JSON does not have, are null.
"""

import base64
import datetime
import json
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.faults import FileFault, Piece, RecordFault, too_large

BATCH_ROWS = 1024


class Rows:
    """The rows of some row groups (all where `row_groups` is None), numbered from 1."""

    def __init__(self, file: BinaryIO, limit: int, row_groups: Sequence[int] | None = None):
        self.file, self.limit, self.row_groups = file, limit, row_groups
        self.count = 0

    def __iter__(self) -> Iterator[Piece]:
        try:
            for batch in self._batches():
                for raw in _texts(batch):
                    self.count += 1
                    if isinstance(raw, Piece):
                        yield raw._replace(line=self.count)
                    elif len(raw) > self.limit:
                        yield too_large(self.count, raw, len(raw), self.limit)
                    else:
                        yield Piece(self.count, raw)
        except FileFault as fault:
            yield Piece(None, b"", fault)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from pq.ParquetFile(self.file).iter_batches(BATCH_ROWS, self.row_groups)
        except (OSError, pa.ArrowException) as error:
            # pyarrow says OSError for bytes that make no sense as well; one of the system's has a number.
            if getattr(error, "errno", None) is not None:
                raise
            raise FileFault("corrupt_file", f"not readable as parquet: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:300]


def _texts(batch: pa.RecordBatch) -> list[bytes | Piece]:
    """Each row as JSON, or as a piece with a fault."""
    try:
        return [_as_json(row) for row in _plain_rows(batch)]
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            found = f"a string value is not UTF-8 ({error.reason} at its byte {error.start + 1}); strings are in base64"
            return [Piece(None, _as_json(_binary_row(batch)), RecordFault("invalid_utf8", found))]
        return [text for row in range(batch.num_rows) for text in _texts(batch.slice(row, 1))]


def _plain_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _values(column: pa.Array) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError):
        # Python's dates end before parquet's do, and have no nanoseconds.
        return column.cast(pa.string()).to_pylist()


def _binary_row(batch: pa.RecordBatch) -> dict[str, Any]:
    """The only row of a batch with its strings as bytes, null where they lie deeper than the row's own fields."""
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        try:
            row[name] = (column.cast(pa.large_binary()) if is_text else column).to_pylist()[0]
        except UnicodeDecodeError:
            row[name] = None
    return row


def _as_json(row: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=_plain, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(row), ensure_ascii=False, separators=(",", ":"), default=_plain, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    return repr(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
