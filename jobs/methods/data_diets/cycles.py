"""The cycles of a dynamic data diet: train, score, and choose the samples of the next cycle."""

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
    """How the errors of all cycles become one score per sample (operators/kernels/nlu_diet.py)."""

    joint: Joint
    smoothing: Smoothing
    alpha: float
    last: int
    bonus: float

    def over(self, cycles: "Cycles") -> Subset:
        """The samples that every cycle scored, with the column `score`."""
        columns = [f"{cycle}.{field}" for cycle in cycles.names for field in ERRORS]
        return cycles.scored.bind(score=cycles.scored.reduce(diet_scores, *columns, **vars(self))).having("score")


@dataclass(frozen=True)
class Cycles:
    """A training that continues from cycle to cycle, and the samples of each cycle."""

    trainer: Finetune
    """The trainer, with the names of its labels."""
    usable: Subset
    """The samples that can be trained on and scored."""
    seed: int
    scored: Subset
    """The usable samples that every cycle has scored, with one column per cycle."""
    chosen: tuple[Subset, ...] = ()
    """The training samples of each cycle."""
    epochs: tuple[int, ...] = ()
    """The number of epochs of each cycle."""
    model: Checkpoint | None = None
    """The model after the last cycle; None before the first."""

    @property
    def names(self) -> list[str]:
        """The names of the columns of the cycles so far."""
        return [f"cycle_{number}" for number in range(1, len(self.chosen) + 1)]

    def after(self, chosen: Subset, epochs: int, dropout: Dropout, precision: Precision) -> "Cycles":
        """The cycles with one more: it continues the training on the chosen samples, then scores all samples.

        epochs: the number of epochs of the new cycle. dropout, precision: of the scoring.
        """
        number = len(self.chosen)
        seed = self.trainer.seed + self.seed + number
        model = chosen.train(replace(self.trainer, epochs=epochs, after=self.model, seed=seed), afterwards="go on")[-1]
        assert self.trainer.labels is not None, "a classifier is trained"
        error = ClassError(model, self.trainer.labels, self.trainer.max_tokens, dropout, precision)
        scored = self.scored.map(**{f"cycle_{number + 1}": error})
        return replace(self, scored=scored, chosen=(*self.chosen, chosen), epochs=(*self.epochs, epochs), model=model)

    def visits(self) -> np.ndarray:
        """The number of epochs in which each usable sample was trained on; (usable,) int32."""
        visits = np.zeros(len(self.usable), np.int32)
        for chosen, epochs in zip(self.chosen, self.epochs, strict=True):
            visits[self.usable.among(chosen)] += epochs
        return visits

    def facts(self) -> dict[str, object]:
        """Facts of the training for the manifest."""
        return {
            "model": self.model.name if self.model else "",
            "training samples per cycle": [len(chosen) for chosen in self.chosen],
            "steps": sum(n * self.trainer.steps(len(each)) for n, each in zip(self.epochs, self.chosen, strict=True)),
            "steps without a diet": sum(self.epochs) * self.trainer.steps(len(self.usable)),
            "class accuracy per cycle": [float(self.scored.values(f"{name}.right").mean()) for name in self.names],
        }
