"""A column that is bound to samples: an operator's values in the store, or what a recipe made of other columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jobs.engine.execute.reducing import Rows, Stored
from jobs.engine.store.feature import Feature


class Values(NamedTuple):
    """Some samples, and a value of each."""

    ids: np.ndarray
    """(m,) int64, ascending."""
    values: np.ndarray
    """(m, ...), aligned with them."""


@dataclass(frozen=True, eq=False)
class Column:
    """The values of the samples that have one; a field of structs is read once and kept."""

    ids: np.ndarray
    """The samples that have a value, ascending; (m,) int64."""
    feature: Feature | None = None
    """Where the values are stored; None for values that were made of other columns."""
    read: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """What has been read, by field; "" is the whole value. Each is aligned with `ids`."""

    def stored(self) -> Feature:
        """Where the values are stored; ValueError for values that are not."""
        if self.feature is None:
            raise ValueError("these values were made of other columns and are not stored")
        return self.feature

    def values(self, ids: np.ndarray, field: str) -> np.ndarray:
        """The values of these ids, in their order; KeyError where one has none."""
        if field not in self.read:
            self.read[field] = self.stored().values(self.ids, field)
        places = np.searchsorted(self.ids, ids)
        known = places < len(self.ids)
        known[known] = self.ids[places[known]] == ids[known]
        if not known.all():
            raise KeyError(f"there is no value for id {ids[~known][0]}")
        return self.read[field][places]

    def rows(self, ids: np.ndarray, field: str) -> Rows:
        """The values of these ids as a kernel on a worker gets them: values in the store do not pass the driver."""
        return Stored(self.feature, field, ids) if self.feature else self.values(ids, field)

    def fields(self) -> tuple[str, ...]:
        """The fields of its values; none where they are no structs."""
        return self.feature.fields() if self.feature else ()


def joined(first: Mapping[str, Column], second: Mapping[str, Column]) -> dict[str, Column]:
    """The columns of both; one that both have holds the samples of either, with the first's values where it has any."""
    columns = {**second, **first}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if one is other or one.feature != other.feature:
            continue
        ids = np.union1d(one.ids, other.ids)
        if one.feature:
            columns[name] = Column(ids, one.feature)
        else:
            further = np.setdiff1d(other.ids, one.ids)
            held = np.concatenate([one.values(one.ids, ""), other.values(further, "")])
            columns[name] = Column(ids, read={"": held[np.argsort(np.concatenate([one.ids, further]))]})
    return columns


def features(columns: Mapping[str, Column]) -> dict[str, Feature]:
    """The stored ones among the columns."""
    return {name: column.feature for name, column in columns.items() if column.feature}
