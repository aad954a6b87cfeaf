"""The operator: a feature's declaration. Its fields are its identity, `load()` is its work.

    class Length(Operator):
        def load(self):
            return lambda batch: [len(sample.response(m)) for m in batch["messages"].to_pylist()]

An operator is frozen and cheap to make: constructing one imports no model library. `load()` is called once
in each worker, imports what it needs, and returns a function from a batch (a pyarrow table with the columns
of `operators.sample.SAMPLE` that `reads` names, and `id`) to one value a row, in order: numbers, strings,
dicts, vectors, or one (rows, dimensions) array for all. A row that cannot be computed gets a `RowError` as
its value; an exception raised for a whole batch makes the engine halve the batch until the row is found.
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
    """Why one sample has no value: a kind (a short word to count by) and a message for people."""

    def __init__(self, kind: str, message: str = ""):
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


Values = Sequence[Any] | np.ndarray
Compute = Callable[[pa.Table], Values]
Arrivals = Callable[[pa.Table], Iterator[Mapping[int, Any]]]


@dataclass(frozen=True, config=STRICT)
class Operator:
    """A feature's declaration: subclasses add fields with defaults and define `load`."""

    version: ClassVar[int] = 1
    """Raised when the code changes what it computes for the same fields."""

    reads: ClassVar[tuple[str, ...]] = ("messages",)
    """Columns of the sample that the batch carries besides `id`."""

    gives: ClassVar[pa.DataType | None] = None
    """The Arrow type of a value; None where every value that is not an error says it alike."""

    def load(self) -> Compute | Arrivals:
        """The function that computes a batch; called once in each worker."""
        raise TypeError(f"{type(self).__name__} does not define load()")

    def check(self) -> None:
        """Raises where `load` could not succeed here; cheap, no model is loaded.

        ModelMissing for a checkpoint that is not there, ValueError for a field that does not fit what it names.
        """

    def columns(self) -> tuple[str, ...]:
        """What the batch carries besides `id`: `reads`, unless the fields ask for more."""
        return self.reads

    def belongs_to(self) -> Literal["conversation", "record"]:
        """What a value is of: the messages alone, by which it is known again, or the record that `columns` has too.

        Two records may have the same messages and another label, or another border of instruction and input.
        """
        return "record" if "raw" in self.columns() else "conversation"

    def most_workers(self) -> int | None:
        """How many workers may compute it at a time; None for as many as there is room for."""
        return None

    def advice(self, kind: str, column: str) -> str:
        """What to do where too many samples of the column have an error of this kind; empty where nothing is known."""
        return ""

    def fingerprint(self) -> str:
        """Hex SHA-256 of the canonical JSON of name, version and fields; execution settings never enter it."""
        identity = {"operator": type(self).__name__, "version": self.version, "fields": described(self)}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


@dataclass(frozen=True, config=STRICT)
class Arriving(Operator):
    """An operator whose values are dear and arrive by and by, as a server's answers do.

    What its `load` returns gives an iterator instead of a list: of values by row of the batch, in any order, each
    row once. The engine keeps each lot as it arrives. An exception ends the map; what arrived is kept.
    """

    def load(self) -> Arrivals:
        """The function that computes a batch lot by lot; called once in each worker."""
        raise TypeError(f"{type(self).__name__} does not define load()")


def described(value: Any) -> Any:
    """A declaration as plain JSON values; an object with an `identity()` (a checkpoint) stands for what it returns."""
    if hasattr(value, "identity"):
        return described(value.identity())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: described(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    return value


def canonical_json(value: Any) -> str:
    """One spelling for equal values; TypeError or ValueError for what has no stable form (callables, sets, NaN)."""
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
