"""Some samples of a pool, by id, with the columns that are bound to them: parts of them, values and thresholds."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from jobs.engine.execute.session import Session
from jobs.engine.pool.column import Column
from jobs.engine.pool.held import Held, held
from jobs.engine.pool.ids import Compact, among, compact, held_by
from jobs.engine.pool.scores import found_among
from jobs.engine.pool.series import Series
from jobs.engine.samples.pool_folder import Samples
from operators.kernels.threshold import (
    are_above,
    are_at_least,
    are_below,
    threshold_above,
    threshold_below,
    threshold_for,
)


@dataclass(frozen=True, eq=False)
class Members:
    """Some samples of a pool. Nothing is changed in place: every method returns new ones."""

    origin: Samples
    """The samples of the whole pool."""
    session: Session
    ids: Compact = compact()  # noqa: RUF009 - a descriptor, which keeps the ids of each instance apart
    """The ids of the samples in this subset, ascending; (n,) int64."""
    columns: Mapping[str, Column] = field(default_factory=dict)

    @property
    def order(self) -> np.ndarray:
        """The ids in the order in which kernels and `values` use them."""
        return self.ids

    def __len__(self) -> int:
        return len(held_by(self))

    def __getitem__(self, some: np.ndarray | slice) -> Self:
        """The samples with these ids, or those at a slice of `order`, or where a mask over `order` is True.

        Ids that are not in this subset are ignored.
        """
        return self._where(self._chosen(some))

    def _chosen(self, some: np.ndarray | slice) -> np.ndarray:
        if isinstance(some, np.ndarray) and some.dtype != bool:
            return self._inside(held(np.unique(some)))
        mask = np.zeros(len(self), bool)
        mask[some] = True
        return mask

    def _inside(self, some: Held) -> np.ndarray:
        """Which samples, in the order of `order`, are among these; (n,) bool."""
        return among(held_by(self), some)

    def among(self, other: "Members") -> np.ndarray:
        """Which samples, in the order of `order`, are in the other too; (n,) bool."""
        return self._inside(held_by(other))

    def __and__(self, other: "Members") -> Self:
        """The samples of these that are in the other too."""
        return self._where(self.among(other))

    def __sub__(self, other: "Members") -> Self:
        """The samples of this subset that are not in the other."""
        return self._where(~self.among(other))

    def _where(self, mask: np.ndarray) -> Self:
        return self if mask.all() else self._with(ids=held_by(self).where(mask))

    def _with(self, **changed: Any) -> Self:
        """These samples with some fields changed; `replace` of dataclasses would make the array of the ids."""
        other = copy(self)
        vars(other).update(changed)
        return other

    def bind(self, **columns: np.ndarray) -> Self:
        """These samples with additional columns of values, each aligned with `order`.

        A NaN or an infinity in a column of numbers counts as no value: `having` leaves such samples out.
        """
        bound = {name: self._bound(self._by_id(np.asarray(values))) for name, values in columns.items()}
        return self._with(columns={**self.columns, **bound})

    def _bound(self, values: np.ndarray) -> Column:
        """The column of values that are aligned with `ids`. They are not copied: places without a value stay in it."""
        own = held_by(self)
        if values.dtype.kind != "f" or values.ndim != 1 or (known := np.isfinite(values)).all():
            return Column(own, read={"": values})
        if not np.isnan(values[~known]).all():
            values = np.where(known, values, np.nan)
        return Column(own.where(known), read={"": values}, over=own)

    def _by_id(self, values: np.ndarray) -> np.ndarray:
        """Values that are aligned with `order`, aligned with `ids`."""
        return values

    def having(self, *names: str) -> Self:
        """The samples that have a value in every one of these columns."""
        having = self
        for name in names:
            valued = held_by(self.columns[name])
            if held_by(having) is not valued:
                having = having._where(having._inside(valued))
                if len(having) == len(valued):
                    having = having._with(ids=valued)  # one for both
        return having

    def values(self, name: str) -> np.ndarray:
        """The values of a column, aligned with `order`; `name.field` is one field of a column of structs.

        The values are read on the driver. Use this for labels, counts and scores, and `reduce` for embeddings and other
        wide columns. KeyError where a sample has no value.
        """
        column, _, field = name.partition(".")
        return self.columns[column].values(self._ordered(), field)

    def _ordered(self) -> np.ndarray | Held:
        """The ids in the order of `order`."""
        return held_by(self)

    def column(self, name: str) -> Series:
        """The ids and the values of a column, by ascending id, for the details of a selection."""
        column, _, field = name.partition(".")
        return self.columns[column].series(held_by(self), field)

    def above(self, name: str, threshold: float = -np.inf, *, share: float | None = None) -> Self:
        """The samples whose value is strictly above the threshold.

        share: chooses the threshold that at least this share of the samples is above. name: a column, as in `values`.
        The threshold is recorded.
        """
        return self._passing(f"{name} above", are_above, name, self._threshold(threshold_above, name, threshold, share))

    def below(self, name: str, threshold: float = np.inf, *, share: float | None = None) -> Self:
        """The samples whose value is strictly below the threshold.

        share: chooses the threshold that at least this share of the samples is below. name: a column, as in `values`.
        The threshold is recorded.
        """
        return self._passing(f"{name} below", are_below, name, self._threshold(threshold_below, name, threshold, share))

    def at_least(self, name: str, threshold: float = -np.inf, *, share: float | None = None) -> Self:
        """The samples whose value is at or above the threshold.

        share: chooses the value that lets through the share nearest to this one as the threshold. name: a column, as in
        `values`. The threshold is recorded.
        """
        threshold = self._threshold(threshold_for, name, threshold, share)
        return self._passing(f"{name} at least", are_at_least, name, threshold)

    def _threshold(self, chosen: Callable[..., float], name: str, threshold: float, share: float | None) -> float:
        return threshold if share is None or not len(self) else self._among(chosen, name, fraction=share)

    def _passing(self, decision: str, passes: Callable[..., np.ndarray], name: str, threshold: float) -> Self:
        """The samples whose value passes; a decision about any samples is recorded."""
        if not len(self):
            return self
        mask = self._among(passes, name, threshold=threshold)
        entry = {"threshold": threshold, "samples": len(self), "passed": int(mask.sum())}
        self.session.log.append({"decide": decision, "pool": self.origin.folder, **entry})
        return self._passed(mask)

    def _passed(self, mask: np.ndarray) -> Self:
        """The samples where a mask over `ids` is True."""
        return self._where(mask)

    def _among(self, kernel: Callable[..., Any], name: str, **params: Any) -> Any:
        """What a kernel finds among the values of a column, in the order of `ids`."""
        return found_among(kernel, self.columns[name.partition(".")[0]], name, held_by(self), self.session, **params)
