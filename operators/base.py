"""The operator: the declaration of a feature. Its fields are its identity; `load()` does the work.

    class Length(Operator):
        def load(self):
            return lambda batch: [len(sample.response(m)) for m in batch["messages"].to_pylist()]

An operator is frozen and cheap to construct: no model library is imported. `load()` is called once per worker and
imports what it needs. It returns a function from a batch to one value per row, in order. The batch is a pyarrow table
with `id` and the columns of `operators.sample.SAMPLE` that `reads` lists. The values are numbers, strings, dicts,
vectors, or one (rows, dimensions) array for all. A row that cannot be computed has a `RowError` as its value. If the
function raises another exception, the engine halves the batch until it has found the row.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class RowError(Exception):
    """The reason why one sample has no value: a kind, which is a short word to count by, and a message for people."""

    def __init__(self, kind: str, message: str = ""):
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


class DeviceLost(Exception):
    """The device, or the engine on it, computes nothing more in this process, whatever it is given."""


Values = Sequence[Any] | np.ndarray
Compute = Callable[[pa.Table], Values]
Arrivals = Callable[[pa.Table], Iterator[Mapping[int, Any]]]


@dataclass(frozen=True, config=STRICT)
class Operator:
    """The declaration of a feature: subclasses add fields with defaults and define `load`."""

    version: ClassVar[int] = 1
    """A number that is increased when the code computes another value for the same fields."""

    earlier: ClassVar[tuple[int, ...]] = ()
    """Versions whose stored values are taken over as far as `still_valid` says, so that they are not computed again."""

    reads: ClassVar[tuple[str, ...]] = ("messages",)
    """The columns of the sample in a batch, besides `id`."""

    gives: ClassVar[pa.DataType | None] = None
    """The Arrow type of a value; None where it follows from any value that is not an error."""

    def load(self) -> Compute | Arrivals:
        """The function from a batch to its values; called once per worker."""
        raise TypeError(f"{type(self).__name__} does not define load()")

    def check(self) -> None:
        """Raises an error where `load` would fail on this machine; it is cheap and loads no model.

        ModelMissing for a checkpoint that is not there; ValueError for a field that does not fit its checkpoint.
        """

    def columns(self) -> tuple[str, ...]:
        """The columns in a batch besides `id`: `reads`, or more where the fields need them."""
        return self.reads

    def belongs_to(self) -> Literal["conversation", "record"]:
        """What a value depends on: the messages only, or the whole record, where `columns` has `raw`.

        Stored values are found again by it. Two records may have the same messages and different labels, or another
        border between instruction and input.
        """
        return "record" if "raw" in self.columns() else "conversation"

    def most_workers(self) -> int | None:
        """The maximum number of workers at a time; None for no maximum."""
        return None

    def most_rows(self, seconds: float) -> int | None:
        """The maximum number of samples in a batch, which should take about this time at most; None for no maximum."""
        return None

    def uses_gpus(self) -> bool:
        """Whether a worker computes anything on a GPU, if it has one."""
        return True

    def advice(self, kind: str, column: str) -> str:
        """Advice for a column in which too many samples have an error of this kind; empty for none."""
        return ""

    def still_valid(self, values: pa.Array) -> np.ndarray:
        """Whether each value that an `earlier` version computed is what this version computes; (rows,) bool."""
        return np.zeros(len(values), bool)

    def fingerprint(self, version: int | None = None) -> str:
        """Hex SHA-256 of the canonical JSON of class name, version and fields; execution settings never enter.

        version: an earlier one; None for the operator's own.
        """
        identity = {"operator": type(self).__name__, "version": version or self.version, "fields": described(self)}
        return canonical_digest(identity)


@dataclass(frozen=True, config=STRICT)
class Arriving(Operator):
    """An operator whose values are expensive and arrive one after another, such as the answers of a server.

    The function that its `load` returns gives an iterator over groups of values instead of a list. A group is a mapping
    from the row in the batch to the value; rows come in any order, each once. The engine stores each group as it
    arrives. An exception ends the map; the values that arrived are kept.
    """

    def load(self) -> Arrivals:
        """The function from a batch to groups of its values; called once per worker."""
        raise TypeError(f"{type(self).__name__} does not define load()")


def described(value: Any) -> Any:
    """A declaration as plain JSON values; an object with an `identity()`, such as a checkpoint, is replaced by it."""
    if hasattr(value, "identity"):
        return described(value.identity())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: described(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    return value


def canonical_digest(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values; TypeError or ValueError for callables, sets, NaN and the like."""
    _refuse_unstable(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refuse_unstable(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical JSON: key {key!r} is not a string")
            _refuse_unstable(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_unstable(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"canonical JSON: {value!r} has no stable form")
    elif not (value is None or isinstance(value, str | int | float | bool)):
        raise TypeError(f"canonical JSON: {type(value).__name__} {value!r} has no stable form")
