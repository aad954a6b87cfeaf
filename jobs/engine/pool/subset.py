"""Some samples of a pool, with the columns that are bound to them; and such samples in an order.

    rated = pool.map(reward=Reward())                    the samples that have a reward
    good = rated.above("reward.reward", share=0.5)       the half with the highest
    picks = good.map(embed=Embed()).reduce(k_center, "embed", k=100).picks
    kept = picks - others                                in the order in which they were picked

Nothing is changed in place: every verb returns a new subset.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from jobs.engine.execute.mapping import mapped
from jobs.engine.execute.reducing import reduced
from jobs.engine.execute.session import Session
from jobs.engine.pool.column import Column, Series, joined
from jobs.engine.pool.ids import compact
from jobs.engine.pool.kernels import in_positions, translated
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.train.training import Afterwards, trained
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.kernels import threshold as thresholds
from operators.kernels.ranking import ranked
from operators.kernels.rows import ROW
from operators.kernels.sampling import random_order
from operators.training.finetune import Finetune


@dataclass(frozen=True, eq=False)
class Subset:
    """Some samples of a pool, by id, and the columns bound to them."""

    origin: Samples
    """The samples of the whole pool."""
    session: Session
    ids: np.ndarray = compact()  # noqa: RUF009 - a descriptor, which keeps the ids of each instance apart
    """The ids of the samples in this subset, ascending; (n,) int64."""
    columns: Mapping[str, Column] = field(default_factory=dict)

    @property
    def order(self) -> np.ndarray:
        """The ids in the order in which kernels and `values` use them."""
        return self.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, chosen: np.ndarray | slice) -> Self:
        """The samples with these ids, or those at a slice of `order`, or where a mask over `order` is True.

        Ids that are not in this subset are ignored.
        """
        return self._where(self._chosen(chosen))

    def _chosen(self, chosen: np.ndarray | slice) -> np.ndarray:
        if isinstance(chosen, np.ndarray) and chosen.dtype != bool:
            return np.isin(self.order, chosen)
        mask = np.zeros(len(self), bool)
        mask[chosen] = True
        return mask

    def __or__(self, other: "Subset") -> "Subset":
        """The samples that are in this subset, in the other, or in both."""
        return Subset(self.origin, self.session, np.union1d(self.ids, other.ids), joined(self.columns, other.columns))

    def __and__(self, other: "Subset") -> Self:
        """The samples of this subset that are in the other too."""
        return self._where(np.isin(self.order, other.ids))

    def __sub__(self, other: "Subset") -> Self:
        """The samples of this subset that are not in the other."""
        return self._where(~np.isin(self.order, other.ids))

    def _where(self, mask: np.ndarray) -> Self:
        return self if mask.all() else replace(self, ids=self.ids[mask])

    def map(self, **operators: Operator) -> Self:
        """Computes operators for these samples, and binds one column per operator.

        Returns the samples for which every operator has a value. Values in the store are not computed again.
        OverErrorBudget where more samples fail than `max_errors` allows.
        """
        bound = {}
        for name, operator in operators.items():
            feature, ids = mapped(self.origin, self.session, name, operator, self.ids)
            bound[name] = Column(ids, feature)
        return replace(self, columns={**self.columns, **bound}).having(*bound)

    def bind(self, **columns: np.ndarray) -> Self:
        """These samples with additional columns of values, each aligned with `order`.

        A NaN or an infinity in a column of numbers counts as no value: `having` leaves such samples out.
        """
        by_id = slice(None) if self.order is self.ids else np.argsort(self.order)
        bound = {}
        for name, values in columns.items():
            values = np.asarray(values)[by_id]
            known = np.isfinite(values) if values.dtype.kind == "f" and values.ndim == 1 else np.ones(len(self), bool)
            every = bool(known.all())
            ids, values = (self.ids, values) if every else (self.ids[known], values[known])
            bound[name] = Column(ids, read={"": values})
        return replace(self, columns={**self.columns, **bound})

    def having(self, *names: str) -> Self:
        """The samples that have a value in every one of these columns."""
        having = self
        for name in names:
            if having.order is not self.columns[name].ids:
                having = having._where(np.isin(having.order, self.columns[name].ids))
        return having

    def values(self, name: str) -> np.ndarray:
        """The values of a column, aligned with `order`; `name.field` is one field of a column of structs.

        The values are read on the driver. Use this for labels, counts and scores, and `reduce` for embeddings and other
        wide columns. KeyError where a sample has no value.
        """
        column, _, field = name.partition(".")
        return self.columns[column].values(self.order, field)

    def column(self, name: str) -> Series:
        """The ids and the values of a column, by ascending id, for the details of a selection."""
        column, _, field = name.partition(".")
        return Series(self.ids, self.columns[column].values(self.ids, field))

    def reduce(self, kernel: Callable[..., Any], *columns: str, **params: Any) -> Any:
        """Calls a kernel with whole columns on a worker, and returns its result.

        The kernel gets one array per column, aligned with `order`, and the parameters. A column is named as in
        `values`. Where the kernel's annotations declare positions of rows, the parameter here is an id or an array of
        ids. In the result, a position becomes an id, and an array of positions becomes a `Ranking`. WinnowError where
        the kernel fails.
        """
        rows = {}
        for name in columns:
            column, _, field = name.partition(".")
            rows[name] = self.columns[column].rows(self.order, field)
        found = reduced(kernel, rows, len(self), in_positions(kernel, params, self.order), self.session)
        return translated(kernel, found, self._named)

    def _named(self, positions: Any, kind: str) -> Any:
        return int(self.order[positions]) if kind == ROW else self.ranking(self.order[positions])

    def train(self, trainer: Finetune, afterwards: Afterwards = "use") -> tuple[Checkpoint, ...]:
        """Trains a model on these samples, and returns one checkpoint per epoch, in order.

        A checkpoint is a local folder: weights or adapter, tokenizer, training.json, and adam.safetensors for an
        adapter. The store keeps the checkpoints by trainer, pool and ids, so the same training runs only once. Samples
        with nothing to supervise are left out and counted. afterwards: "go on" keeps adam.safetensors of the last epoch
        where all weights are trained.
        """
        return trained(self.origin, self.session, trainer, self.ids, afterwards)

    def above(self, name: str, threshold: float = -np.inf, *, share: float | None = None) -> Self:
        """The samples whose value is strictly above the threshold.

        share: chooses the threshold that at least this share of the samples is above. name: a column, as in `values`.
        The threshold is recorded.
        """
        threshold = self._threshold(thresholds.threshold_above, name, threshold, share)
        return self._decided(f"{name} above", threshold, self.values(name) > threshold)

    def below(self, name: str, threshold: float = np.inf, *, share: float | None = None) -> Self:
        """The samples whose value is strictly below the threshold.

        share: chooses the threshold that at least this share of the samples is below. name: a column, as in `values`.
        The threshold is recorded.
        """
        threshold = self._threshold(thresholds.threshold_below, name, threshold, share)
        return self._decided(f"{name} below", threshold, self.values(name) < threshold)

    def at_least(self, name: str, threshold: float = -np.inf, *, share: float | None = None) -> Self:
        """The samples whose value is at or above the threshold.

        share: chooses the value that lets through the share nearest to this one as the threshold. name: a column, as in
        `values`. The threshold is recorded.
        """
        threshold = self._threshold(thresholds.threshold_for, name, threshold, share)
        return self._decided(f"{name} at least", threshold, self.values(name) >= threshold)

    def _threshold(
        self, chosen: Callable[[np.ndarray, float], float], name: str, threshold: float, share: float | None
    ) -> float:
        return threshold if share is None or not len(self) else chosen(self.values(name), share)

    def _decided(self, decision: str, threshold: float, mask: np.ndarray) -> Self:
        """The samples where the mask is True; a decision about any samples is recorded."""
        if not len(self):
            return self
        entry = {"threshold": threshold, "samples": len(self), "passed": int(mask.sum())}
        self.session.log.append({"decide": decision, "pool": self.origin.folder, **entry})
        return self._where(mask)

    def ranked(self, name: str) -> "Ranking":
        """These samples in descending order of a column's values, ties by ascending id."""
        return self._ordered(ranked(self.column(name).values))

    def ranked_lowest(self, name: str) -> "Ranking":
        """These samples in ascending order of a column's values, ties by ascending id."""
        return self._ordered(ranked(-self.column(name).values))

    def shuffled(self, seed: int) -> "Ranking":
        """These samples in a random order that depends only on the seed and their number."""
        return self._ordered(random_order(len(self), seed))

    def _ordered(self, places: np.ndarray) -> "Ranking":
        """A ranking of all these samples; places: their positions in `ids`, the best first."""
        return Ranking(self.origin, self.session, self.ids, self.columns, self.ids[places])

    def ranking(self, order: np.ndarray) -> "Ranking":
        """A ranking of the samples with these ids, in this order."""
        order = np.asarray(order, np.int64)
        return Ranking(self.origin, self.session, np.sort(order), self.columns, order)


@dataclass(frozen=True, eq=False)
class Ranking(Subset):
    """Samples in an order, the best first. Differences, intersections, slices and masks keep the order."""

    best_first: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """The ids in the order of the ranking; (n,) int64."""

    @property
    def order(self) -> np.ndarray:
        """The ids, best first."""
        return self.best_first

    def __add__(self, other: "Ranking") -> "Ranking":
        """These samples in their order, followed by the samples of the other ranking that are not in this one."""
        return (self | other).ranking(np.concatenate([self.order, other.order[~np.isin(other.order, self.ids)]]))

    def _where(self, mask: np.ndarray) -> Self:
        if mask.all():
            return self
        order = self.order[mask]
        return replace(self, ids=np.sort(order), best_first=order)
