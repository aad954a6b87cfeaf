"""The rows of a parquet or an Arrow file as JSON records.

Fields are in schema order. Dates and times are ISO 8601 strings, durations seconds, decimals strings, maps lists of
[key, value]. NaN and infinities, which JSON does not have, are null. Binary values that are UTF-8 are text, since some
writers have no string type. Other bytes are base64, and the piece names their columns, so that they are not read as
messages. Values of a fixed size, and the `bytes` of an image or a sound beside its path, are always base64.
"""

import base64
import datetime
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from jobs.engine.ingest.faults import FileFault, Piece, RecordFault, too_large

BATCH_ROWS = 1024
ARROW = b"ARROW1"

MEDIA = {"bytes", "path"}
"""The fields of a struct that holds an image or a sound, as Hugging Face datasets writes it."""


class Rows:
    """Gives the rows of some row groups, or of all if `row_groups` is None, numbered from 1."""

    def __init__(self, file: BinaryIO, limit: int, row_groups: Sequence[int] | None = None):
        self.file, self.limit, self.row_groups = file, limit, row_groups
        self.count = 0

    def __iter__(self) -> Iterator[Piece]:
        try:
            for batch in self._batches():
                for piece in _pieces(batch):
                    self.count += 1
                    if not piece.fault and len(piece.raw) > self.limit:
                        yield too_large(self.count, piece.raw, len(piece.raw), self.limit)
                    else:
                        yield piece._replace(line=self.count)
        except FileFault as fault:
            yield Piece(None, b"", fault)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            parquet = pq.ParquetFile(self.file)
            _refuse_twins(parquet.schema_arrow)
            yield from parquet.iter_batches(BATCH_ROWS, self.row_groups)
        except (OSError, pa.ArrowException) as error:
            # pyarrow raises OSError for malformed bytes too; only an error of the system has a number.
            if getattr(error, "errno", None) is not None:
                raise
            raise FileFault("corrupt_file", f"not readable as parquet: {_first_line(error)}") from None


class Batches(Rows):
    """Gives the rows of an Arrow file or stream, such as Feather and what `save_to_disk` of Hugging Face writes."""

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            self.file.seek(0)
            whole = self.file.read(len(ARROW)) == ARROW
            self.file.seek(0)
            reader = pa.ipc.open_file(self.file) if whole else pa.ipc.open_stream(self.file)
            _refuse_twins(reader.schema)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if whole else reader
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)
        except (OSError, pa.ArrowException) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise FileFault("corrupt_file", f"not readable as Arrow: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:300]


def _refuse_twins(fields: Iterable[pa.Field], within: str = "") -> None:
    """FileFault where two columns, or two fields of a struct, have one name: one of them would be lost."""
    seen: set[str] = set()
    for field in fields:
        path = f"{within}{field.name}"
        if field.name in seen:
            raise FileFault("duplicate_column", f"there are two columns {path!r}; rename or drop one of them")
        seen.add(field.name)
        kind = field.type
        while pa.types.is_nested(kind) and not pa.types.is_struct(kind):
            kind = kind.field(kind.num_fields - 1).type  # the items of a list, the values of a map
        _refuse_twins(_inner(kind), f"{path}.")


def _inner(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(place) for place in range(kind.num_fields)] if pa.types.is_nested(kind) else []


def _pieces(batch: pa.RecordBatch) -> list[Piece]:
    """Returns each row as JSON, with a fault where that is not possible."""
    try:
        return [Piece(None, _as_json(row), opaque=opaque) for row, opaque in _plain_rows(batch)]
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            row, broken = _binary_row(batch)
            found = f"{broken} holds a string that is not UTF-8 ({error.reason} at its byte {error.start + 1})"
            return [Piece(None, _as_json(row), RecordFault("invalid_utf8", f"{found}; strings are in base64"))]
        return [piece for row in range(batch.num_rows) for piece in _pieces(batch.slice(row, 1))]


def _plain_rows(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Gives each row, and the names of its columns with bytes that are not text."""
    names = batch.schema.names
    binary = [field.name for field in batch.schema if _has_bytes(field.type)]
    columns = [_values(column) for column in batch.columns]
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        opaque = []
        for name in binary:
            row[name], readable = _as_text(row[name])
            opaque += [] if readable else [name]
        yield row, tuple(opaque)


def _has_bytes(kind: pa.DataType) -> bool:
    """Whether there are bytes somewhere in values of this type that may be text."""
    if pa.types.is_struct(kind) and {field.name for field in _inner(kind)} == MEDIA:
        return False
    if pa.types.is_dictionary(kind):
        return _has_bytes(kind.value_type)
    whole = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return whole or any(_has_bytes(field.type) for field in _inner(kind))


def _as_text(value: Any) -> tuple[Any, bool]:
    """Returns the value with bytes decoded as text where they are UTF-8, and whether all of them are."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8"), True
        except UnicodeDecodeError:
            return value, False
    if isinstance(value, dict) and value.keys() != MEDIA:
        pairs = {name: _as_text(inner) for name, inner in value.items()}
        return {name: inner for name, (inner, _) in pairs.items()}, all(readable for _, readable in pairs.values())
    if isinstance(value, list | tuple):
        items = [_as_text(inner) for inner in value]
        return [inner for inner, _ in items], all(readable for _, readable in items)
    return value, True


def _values(column: pa.Array) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    """Returns the value of a scalar, with a text in place of each time in it that Python has no object for.

    Python's dates end before parquet's do, and it may not know a time zone. What a value becomes does not depend on its
    neighbours.
    """
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError):
        kind = scalar.type
    if pa.types.is_dictionary(kind):
        return _value(scalar.value)
    if pa.types.is_struct(kind):
        return {name: _value(scalar[name]) for name in kind.names}
    if pa.types.is_map(kind):
        return [(_value(item["key"]), _value(item["value"])) for item in scalar.values]
    if pa.types.is_nested(kind):
        return [_value(item) for item in scalar.values]
    if pa.types.is_timestamp(kind):
        scalar = scalar.cast(pa.timestamp(kind.unit))
    return scalar.cast(pa.string()).as_py()


def _binary_row(batch: pa.RecordBatch) -> tuple[dict[str, Any], str]:
    """Returns the only row of a batch, with its strings as bytes, and the first column that is not UTF-8.

    A string that lies deeper than the row's own fields is null.
    """
    row, broken = {}, []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        row[name] = None
        try:
            _values(column)
        except UnicodeDecodeError:
            broken.append(name)
            if not is_text:
                continue
        row[name] = _values(column.cast(pa.large_binary()) if is_text else column)[0]
    return row, f"column {broken[0]!r}"


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
