"""A column of samples: an operator's values in the store, or values that a recipe computed from other columns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from jobs.engine.execute.rows import Rows, Stored
from jobs.engine.pool.held import BLOCK, Held
from jobs.engine.pool.ids import Compact, among, compact, held_by, union
from jobs.engine.pool.series import Series
from jobs.engine.store.feature import Feature


@dataclass(frozen=True, eq=False)
class Column:
    """The values of the samples that have one. A field is read from the store once and kept in memory."""

    ids: Compact = compact()  # noqa: RUF009 - a descriptor, which keeps the ids of each instance apart
    """The samples that have a value, ascending; (m,) int64."""
    feature: Feature | None = None
    """Where the values are stored; None for values that were computed from other columns."""
    read: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """The values in memory, by field, one for each of `places`; "" is the whole value."""
    over: Held | None = None
    """More samples than those of `ids`, which `read` has values of, NaN for those that are not in `ids`."""

    @property
    def places(self) -> Held:
        """The samples that `read` has values of, in their order."""
        return self.over or held_by(self)

    def stored(self) -> Feature:
        """The feature with the values; ValueError where they are not in the store."""
        if self.feature is None:
            raise ValueError("these values were computed from other columns and are not stored")
        return self.feature

    def values(self, ids: np.ndarray | Held, field: str) -> np.ndarray:
        """The values of a field for these ids, in their order; KeyError where an id has no value.

        For all of `ids` they cannot be written to, as a copy would be as large as they are.
        """
        whole = isinstance(ids, Held) and ids == held_by(self) and not self.over
        kept = self.whole(field)
        if whole:
            return kept
        found, begin = np.empty((len(ids), *kept.shape[1:]), kept.dtype), 0
        for wanted in ids.blocks() if isinstance(ids, Held) else _blocks(ids):
            known = held_by(self).find(wanted)[1]
            if not known.all():
                raise KeyError(f"there is no value for id {wanted[~known][0]}")
            found[begin : begin + len(wanted)] = kept[self.places.find(wanted)[0]]
            begin += len(wanted)
        return found

    def whole(self, field: str) -> np.ndarray:
        """The values of a field for all of `places`, which cannot be written to."""
        if field not in self.read:
            self.read[field] = self.stored().values(self.ids, field)
        whole = self.read[field].view()
        whole.flags.writeable = False
        return whole

    def series(self, ids: Held, field: str) -> Series:
        """The values of a field for these ids; nothing is copied. KeyError where an id has no value."""
        if not ids == held_by(self) and not among(ids, held_by(self)).all():
            raise KeyError("there is no value for some of the ids")
        return Series(ids, self.whole(field), None if ids == self.places else self.places)

    def rows(self, ids: np.ndarray | Held, field: str) -> Rows:
        """The values of these ids as an argument of a kernel on a worker.

        Values in the store are passed by reference, so that they do not go through the driver.
        """
        if not self.feature:
            return self.values(ids, field)
        return Stored(self.feature, field, ids.ids() if isinstance(ids, Held) else ids)

    def fields(self) -> tuple[str, ...]:
        """The names of the fields of the values; empty where the values are not structs, or not in the store."""
        return self.feature.fields() if self.feature else ()


def joined(first: Mapping[str, Column], second: Mapping[str, Column]) -> dict[str, Column]:
    """The columns of two subsets of a pool, by name.

    A column that both have gets the samples of both, with the values of the first where a sample is in both. Where the
    two are of different features, the column of the first is taken as it is.
    """
    columns = {**second, **first}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if one is other or one.feature != other.feature:
            continue
        same = held_by(one) == held_by(other)
        if one.feature:
            columns[name] = one if same else Column(union(held_by(one), held_by(other)), one.feature)
        elif not same:
            further = np.setdiff1d(other.ids, one.ids)
            values = np.concatenate([one.values(held_by(one), ""), other.values(further, "")])
            ids = np.concatenate([one.ids, further])
            order = np.argsort(ids)
            columns[name] = Column(ids[order], read={"": values[order]})
    return columns


def features(columns: Mapping[str, Column]) -> dict[str, Feature]:
    """The features of the columns that are in the store, by column name."""
    return {name: column.feature for name, column in columns.items() if column.feature}


def _blocks(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Ids some at a time: to pick all values at once takes more memory than they do."""
    for start in range(0, len(ids), BLOCK):
        yield ids[start : start + BLOCK]
