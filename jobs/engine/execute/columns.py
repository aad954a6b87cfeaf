"""Turns the values that an operator returns into an Arrow column, with an error for each missing value."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.engine.execute.device_errors import OUT_OF_MEMORY, device_lost, free_cached_memory, out_of_memory
from operators.base import RowError, Values

NONFINITE = RowError("nonfinite", "the value is NaN or infinite")


def column(values: Values, rows: int, gives: pa.DataType | None = None) -> tuple[pa.Array, list[str | None]]:
    """The values of a batch as an Arrow array, and the error of each row.

    rows: the number of samples in the batch. gives: the Arrow type that the operator declares; None: inferred from the
    values. Returns an array that is null where a row has an error, and one error per row, None where it has a value.
    TypeError where the number of values is not `rows`, where a value is None, or where an array has more than two
    dimensions.
    """
    if len(values) != rows:
        raise TypeError(f"an operator returned {len(values)} values for {rows} samples")
    if isinstance(values, np.ndarray):
        finite = _finite(values)
        errors = [None if good else str(NONFINITE) for good in finite]
        return _array(values, finite), errors
    errors = [_told(value) if isinstance(value, RowError) else None for value in values]
    good = np.array([error is None for error in errors], bool)
    present = [value for value in values if not isinstance(value, RowError)]
    if present and isinstance(present[0], np.ndarray):
        dense = np.zeros((rows, *present[0].shape), present[0].dtype)
        dense[good] = np.stack(present)
        finite = _finite(dense)
        for row in np.flatnonzero(~finite & good):
            errors[row] = str(NONFINITE)
        return _array(dense, good & finite), errors
    for row, value in enumerate(values):
        if isinstance(value, float) and not np.isfinite(value):
            errors[row] = str(NONFINITE)
        elif value is None:
            raise TypeError("an operator returned None; a row without a value gets a RowError")
    return pa.array([None if error else value for value, error in zip(values, errors, strict=True)], gives), errors


def _finite(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f":
        return np.ones(len(values), bool)
    return np.logical_and.reduce(np.isfinite(values.reshape(len(values), -1)), axis=1)


def _array(values: np.ndarray, good: np.ndarray) -> pa.Array:
    missing = pa.array(~good)
    if values.ndim == 1:
        return pa.array(values, mask=~good)
    if values.ndim != 2:
        raise TypeError(f"an operator returned an array of {values.ndim} dimensions; a row's value has at most one")
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=missing)


def computed(
    compute: Callable[[pa.Table], Values], batch: pa.Table, gives: pa.DataType | None = None
) -> tuple[list[pa.Array], list[str | None]]:
    """The values and errors of a batch. A batch that raises is halved until the failing rows are found.

    Returns the values as one array or several, in order, and one error per row, None where the row has a value. Raises
    an error that is not a row's (device_errors.py). Memory that was full is a row's error if the row alone needs more.
    """
    found = _attempt(compute, batch, gives)
    if isinstance(found, RowError) and found.kind == OUT_OF_MEMORY:
        free_cached_memory()
        found = _attempt(compute, batch, gives) if batch.num_rows == 1 else found
    if not isinstance(found, RowError):
        values, errors = found
        return [values], errors
    if batch.num_rows == 1:
        return [pa.nulls(1)], [_told(found)]
    half = batch.num_rows // 2
    left, left_errors = computed(compute, batch.slice(0, half), gives)
    right, right_errors = computed(compute, batch.slice(half), gives)
    return left + right, left_errors + right_errors


def _attempt(
    compute: Callable[[pa.Table], Values], batch: pa.Table, gives: pa.DataType | None
) -> tuple[pa.Array, list[str | None]] | RowError:
    """The values and errors of a batch; an exception as a RowError, without the frames that hold its tensors."""
    try:
        return column(compute(batch), batch.num_rows, gives)
    except (MemoryError, RuntimeError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, RowError) as error:
        if device_lost(error):
            raise
        if isinstance(error, RowError):
            return RowError(error.kind, _line(error.message))
        return RowError(OUT_OF_MEMORY if out_of_memory(error) else type(error).__name__, _line(str(error)))


def _told(error: RowError) -> str:
    """An error as text: with a question mark for half a surrogate pair, as a server's refusal may contain."""
    return str(error).encode("utf-8", "replace").decode("utf-8")


def _line(message: str) -> str:
    return message.splitlines()[0][:500] if message else ""


def joined(pieces: list[pa.Array]) -> pa.Array:
    """The pieces concatenated into one array; a piece of nulls gets the type of the others."""
    kinds: list[Any] = [piece.type for piece in pieces if not pa.types.is_null(piece.type)]
    if not kinds:
        return pa.concat_arrays(pieces)
    return pa.concat_arrays([pa.nulls(len(p), kinds[0]) if pa.types.is_null(p.type) else p for p in pieces])
