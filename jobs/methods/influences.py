"""LESS's comparison of samples with targets, checkpoint by checkpoint, and the influence that it comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from jobs.engine.pool.subset import Subset
from jobs.methods.targets import Targets, target_directions, target_features
from operators.gradients.directions import Aggregate
from operators.gradients.gradient import Gradient
from operators.kernels.influence import subtask_cosines, weighted_influence


@dataclass(frozen=True)
class Comparison:
    """What the gradients of samples are compared with, and how."""

    targets: Targets
    aggregate: Aggregate
    projected: bool
    """Whether projected gradients are stored and compared afterwards, or the targets' directions are put into the
    product itself."""

    def at(self, samples: Subset, name: str, gradient: Gradient) -> Subset:
        """The samples with a gradient at a checkpoint, with (n, subtasks) mean cosines in the column `cosines_<name>`.

        gradient: that of a target; a sample's is the step that Adam would make with it.
        """
        adam = replace(gradient, feature="adam")
        if not self.projected:
            adam = replace(adam, onto=target_directions(self.targets, gradient, self.aggregate))
        compared = samples.map(**{name: adam})
        if not self.projected:
            return compared.bind(**{f"cosines_{name}": compared.values(name)})
        cosines = compared.reduce(
            subtask_cosines,
            name,
            targets=target_features(self.targets, gradient, name),
            subtasks=self.targets.subtasks,
            aggregate=self.aggregate,
        )
        return compared.bind(**{f"cosines_{name}": cosines})


def compared(samples: Subset, gradients: Mapping[str, Gradient], comparison: Comparison) -> Subset:
    """The samples with a gradient at each of these checkpoints, with the columns of `Comparison.at`."""
    for name, gradient in gradients.items():
        samples = comparison.at(samples, name, gradient)
    return samples


def influential(compared: Subset, learning_rates: Mapping[str, float]) -> Subset:
    """The samples with an influence, and columns of what it is.

    influence: that on the best subtask, weighted by the checkpoints' learning rates. subtask: the number of that one.
    at_<name>: the mean cosine to its targets at each checkpoint.
    """
    tables = {name: compared.values(f"cosines_{name}") for name in learning_rates}
    found = weighted_influence(list(tables.values()), list(learning_rates.values()))
    rows = np.arange(len(compared))
    by_checkpoint = {f"at_{name}": table[rows, found.subtasks] for name, table in tables.items()}
    return compared.bind(influence=found.scores, subtask=found.subtasks, **by_checkpoint).having("influence")
