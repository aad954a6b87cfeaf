"""The cycles of a data diet that changes as a model is trained: train, score, choose anew."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jobs.engine.pool.subset import Subset
from operators.checkpoint import Checkpoint
from operators.kernels.nlu_diet import Joint, Smoothing, diet_scores
from operators.losses.class_error import ClassError
from operators.models.precision import Precision
from operators.training.finetune import Finetune

Dropout = Literal["off", "on"]
ERRORS = ("el2n", "slot_sum", "slot_fro", "slots")


@dataclass(frozen=True)
class Smoothed:
    """What the errors of all cycles come to."""

    joint: Joint
    smoothing: Smoothing
    alpha: float
    last: int
    bonus: float

    def over(self, cycles: "Cycles") -> Subset:
        """The samples that all these cycles scored, with the column `score`."""
        columns = [f"{cycle}.{field}" for cycle in cycles.names for field in ERRORS]
        return cycles.scored.bind(score=cycles.scored.reduce(diet_scores, *columns, **vars(self))).having("score")


@dataclass(frozen=True)
class Cycles:
    """A training that goes on from cycle to cycle, and what it was trained on."""

    trainer: Finetune
    """With the names of its labels."""
    usable: Subset
    """The samples that can be trained on and scored."""
    seed: int
    scored: Subset
    """Those of the usable that every cycle has scored, with a column per cycle."""
    chosen: tuple[Subset, ...] = ()
    """What each cycle was trained on."""
    epochs: tuple[int, ...] = ()
    """For how many epochs."""
    model: Checkpoint | None = None
    """What the last cycle left."""

    @property
    def names(self) -> list[str]:
        """The columns of the cycles so far."""
        return [f"cycle_{number}" for number in range(1, len(self.chosen) + 1)]

    def after(self, chosen: Subset, epochs: int, dropout: Dropout, precision: Precision) -> "Cycles":
        """The cycles with one more, which goes on for so many epochs with the chosen samples and then scores all."""
        number = len(self.chosen)
        seed = self.trainer.seed + self.seed + number
        model = chosen.train(replace(self.trainer, epochs=epochs, after=self.model, seed=seed))[-1]
        assert self.trainer.labels is not None, "a classifier is trained"
        error = ClassError(model, self.trainer.labels, self.trainer.max_tokens, dropout, precision)
        scored = self.scored.map(**{f"cycle_{number + 1}": error})
        return replace(self, scored=scored, chosen=(*self.chosen, chosen), epochs=(*self.epochs, epochs), model=model)

    def visits(self) -> np.ndarray:
        """How many epochs each of the usable samples was trained for; (usable,) int64."""
        visits = np.zeros(len(self.usable), np.int64)
        for chosen, epochs in zip(self.chosen, self.epochs, strict=True):
            visits[np.isin(self.usable.ids, chosen.ids)] += epochs
        return visits

    def facts(self) -> dict[str, object]:
        """What the manifest says of the training."""
        return {
            "model": self.model.name if self.model else "",
            "trained on": [len(chosen) for chosen in self.chosen],
            "steps": sum(n * self.trainer.steps(len(each)) for n, each in zip(self.epochs, self.chosen, strict=True)),
            "steps without a diet": sum(self.epochs) * self.trainer.steps(len(self.usable)),
            "classes predicted correctly": [float(self.scored.values(f"{name}.right").mean()) for name in self.names],
        }
