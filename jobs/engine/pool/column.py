"""A column of samples: an operator's values in the store, or values that a recipe computed from other columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jobs.engine.execute.rows import Rows, Stored
from jobs.engine.pool.ids import compact
from jobs.engine.store.feature import Feature

BLOCK = 1 << 16
"""Values that are picked at a time: to pick all at once takes more memory than they do."""


class Series(NamedTuple):
    """Some samples, and one value per sample."""

    ids: np.ndarray
    """(m,) int64, ascending."""
    values: np.ndarray
    """(m, ...), aligned with `ids`."""


@dataclass(frozen=True, eq=False)
class Column:
    """The values of the samples that have one. A field is read from the store once and kept in memory."""

    ids: np.ndarray = compact()  # noqa: RUF009 - a descriptor, which keeps the ids of each instance apart
    """The samples that have a value, ascending; (m,) int64."""
    feature: Feature | None = None
    """Where the values are stored; None for values that were computed from other columns."""
    read: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """The values in memory, by field, aligned with `ids`; "" is the whole value."""

    def stored(self) -> Feature:
        """The feature with the values; ValueError where they are not in the store."""
        if self.feature is None:
            raise ValueError("these values were computed from other columns and are not stored")
        return self.feature

    def values(self, ids: np.ndarray, field: str) -> np.ndarray:
        """The values of a field for these ids, in their order; KeyError where an id has no value."""
        own = self.ids
        if ids is own:
            return self.whole(field)
        held = self.whole(field)
        found = np.empty((len(ids), *held.shape[1:]), held.dtype)
        for start in range(0, len(ids), BLOCK):
            wanted = ids[start : start + BLOCK]
            places = np.minimum(np.searchsorted(own, wanted), max(len(own) - 1, 0))
            known = own[places] == wanted if len(own) else np.zeros(len(wanted), bool)
            if not known.all():
                raise KeyError(f"there is no value for id {wanted[~known][0]}")
            found[start : start + BLOCK] = held[places]
        return found

    def whole(self, field: str) -> np.ndarray:
        """The values of a field for all of `ids`, which cannot be written to: a copy would be as large as they are."""
        if field not in self.read:
            self.read[field] = self.stored().values(self.ids, field)
        whole = self.read[field].view()
        whole.flags.writeable = False
        return whole

    def rows(self, ids: np.ndarray, field: str) -> Rows:
        """The values of these ids as an argument of a kernel on a worker.

        Values in the store are passed by reference, so that they do not go through the driver.
        """
        return Stored(self.feature, field, ids) if self.feature else self.values(ids, field)

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
        ids = one.ids if np.array_equal(one.ids, other.ids) else np.union1d(one.ids, other.ids)
        if one.feature:
            columns[name] = Column(ids, one.feature)
        else:
            further = np.setdiff1d(other.ids, one.ids)
            held = np.concatenate([one.values(one.ids, ""), other.values(further, "")])
            columns[name] = Column(ids, read={"": held[np.argsort(np.concatenate([one.ids, further]))]})
    return columns


def features(columns: Mapping[str, Column]) -> dict[str, Feature]:
    """The features of the columns that are in the store, by column name."""
    return {name: column.feature for name, column in columns.items() if column.feature}
