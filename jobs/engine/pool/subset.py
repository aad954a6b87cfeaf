"""Some samples of a pool, with the columns that are bound to them; and such samples in an order.

    rated = pool.map(reward=Reward())                    the samples that have a reward
    good = rated.above("reward.reward", share=0.5)       the half with the highest
    picks = good.map(embed=Embed()).reduce(k_center, "embed", k=100).picks
    kept = picks - others                                in the order in which they were picked

Nothing is changed in place: every verb returns a new subset.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from jobs.engine.execute.mapping import mapped
from jobs.engine.execute.reducing import reduced
from jobs.engine.pool.column import Column, joined
from jobs.engine.pool.held import BLOCK, Held
from jobs.engine.pool.ids import held_by, inside, union
from jobs.engine.pool.kernels import in_positions, translated
from jobs.engine.pool.members import Members
from jobs.engine.train.training import Afterwards, trained
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.kernels.rows import ROW
from operators.kernels.sampling import random_order
from operators.kernels.top import highest, lowest
from operators.training.finetune import Finetune

Places = Callable[[int], np.ndarray]
"""places(k): the positions of the k best samples in `ids`, the best first."""


@dataclass(frozen=True, eq=False)
class Subset(Members):
    """Some samples of a pool, by id, the columns bound to them, and the verbs."""

    def __or__(self, other: "Subset") -> "Subset":
        """The samples that are in this subset, in the other, or in both."""
        ids = union(held_by(self), held_by(other))
        return Subset(self.origin, self.session, ids, joined(self.columns, other.columns))

    def map(self, **operators: Operator) -> Self:
        """Computes operators for these samples, and binds one column per operator.

        Returns the samples for which every operator has a value. Values in the store are not computed again.
        OverErrorBudget where more samples fail than `max_errors` allows.
        """
        bound = {}
        for name, operator in operators.items():
            feature, ids = mapped(self.origin, self.session, name, operator, self.ids)
            bound[name] = Column(ids, feature)
        return self._with(columns={**self.columns, **bound}).having(*bound)

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
            rows[name] = self.columns[column].rows(self._ordered(), field)
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

    def ranked(self, name: str) -> "Ranking":
        """These samples in descending order of a column's values, ties by ascending id."""
        return self._ranked(lambda k: self._among(highest, name, count=k))

    def ranked_lowest(self, name: str) -> "Ranking":
        """These samples in ascending order of a column's values, ties by ascending id."""
        return self._ranked(lambda k: self._among(lowest, name, count=k))

    def shuffled(self, seed: int) -> "Ranking":
        """These samples in a random order that depends only on the seed and their number."""
        return self._ranked(lambda k: random_order(len(self), seed)[:k])

    def _ranked(self, places: Places) -> "Ranking":
        return Ranked(self.origin, self.session, held_by(self), self.columns, places=places)

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
        return (self | other).ranking(np.concatenate([self.order, other.order[~inside(other.order, held_by(self))]]))

    def _by_id(self, values: np.ndarray) -> np.ndarray:
        by_id = np.empty_like(values)
        for start in range(0, len(values), BLOCK):
            by_id[held_by(self).find(self.order[start : start + BLOCK])[0]] = values[start : start + BLOCK]
        return by_id

    def _ordered(self) -> np.ndarray | Held:
        return self.order

    def _inside(self, some: Held) -> np.ndarray:
        return inside(self.order, some)

    def _passed(self, mask: np.ndarray) -> "Ranking":  # type: ignore[override] - as `_where`
        return self._where(self._inside(held_by(self).where(mask)))

    def _where(self, mask: np.ndarray) -> "Ranking":  # type: ignore[override] - a part of a `Ranked` is sorted already
        return self if mask.all() else self.ranking(self.order[mask])


@dataclass(frozen=True, eq=False)
class Ranked(Ranking):
    """All samples of a subset in an order, of which only as much is sorted as is asked for."""

    places: Places = field(kw_only=True)
    held: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """The whole order, once it was asked for."""

    @property
    def order(self) -> np.ndarray:
        """The ids, best first."""
        if "order" not in self.held:
            self.held["order"] = self._best(len(self))
        return self.held["order"]

    def __getitem__(self, some: np.ndarray | slice) -> Ranking:  # type: ignore[override]
        """As of every ranking; the first k samples are found without sorting the others."""
        count = _first(some)
        if count is None or count >= len(self) or "order" in self.held:
            return super().__getitem__(some)
        return self.ranking(self._best(count))

    def _best(self, count: int) -> np.ndarray:
        found = self.places(count)
        if not found.flags.writeable:  # it came from a worker
            found = found.copy()
        for start in range(0, len(found), BLOCK):
            found[start : start + BLOCK] = held_by(self).at(found[start : start + BLOCK])
        return found


def _first(some: np.ndarray | slice) -> int | None:
    """How many samples a slice such as [:k] takes; None for anything else."""
    if isinstance(some, np.ndarray) or some.start or some.step is not None or some.stop is None or some.stop < 0:
        return None
    return int(some.stop)
