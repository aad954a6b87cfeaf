"""LESS's comparison of samples with targets at each checkpoint, and the influence that follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jobs.engine.pool.subset import Subset
from jobs.methods.targets import Targets, target_directions, target_features
from operators.gradients.directions import Aggregate
from operators.gradients.gradient import Gradient
from operators.kernels.influence import influences, subtask_cosines


@dataclass(frozen=True)
class Comparison:
    """The targets that the gradients of samples are compared with, and how they are compared."""

    targets: Targets
    aggregate: Aggregate
    projected: bool
    """True: projected gradients are stored, and compared afterwards. False: the samples' gradients are multiplied by
    the targets' directions as they are computed, and only the cosines are stored."""

    def at(self, samples: Subset, name: str, gradient: Gradient) -> Subset:
        """The samples with a gradient at a checkpoint, with the column `cosines_<name>` or, if not projected, `<name>`.

        The column has the mean cosine of each sample to the targets of each subtask; (n, subtasks). gradient: the
        operator for targets. For samples, the step that Adam would make with the gradient replaces it.
        """
        adam = replace(gradient, feature="adam")
        if not self.projected:
            adam = replace(adam, onto=target_directions(self.targets, gradient, self.aggregate))
        compared = samples.map(**{name: adam})
        if not self.projected:
            return compared
        cosines = compared.reduce(
            subtask_cosines,
            name,
            targets=target_features(self.targets, gradient, name),
            subtasks=self.targets.subtasks,
            aggregate=self.aggregate,
        )
        return compared.bind(**{f"cosines_{name}": cosines})


def compared(samples: Subset, gradients: Mapping[str, Gradient], comparison: Comparison) -> Subset:
    """The samples with a gradient at every one of these checkpoints, with the columns of `Comparison.at`."""
    for name, gradient in gradients.items():
        samples = comparison.at(samples, name, gradient)
    return samples


def influential(compared: Subset, learning_rates: Mapping[str, float]) -> Subset:
    """The samples with an influence (LESS, Xia et al. 2024, arXiv 2402.04333), with the columns of it.

    influence: the highest influence over the subtasks, weighted over the checkpoints by their learning rates. subtask:
    the number of that subtask. at_<name>: the mean cosine to its targets at each checkpoint.
    """
    tables = [column if (column := f"cosines_{name}") in compared.columns else name for name in learning_rates]
    found = compared.reduce(influences, *tables, learning_rates=list(learning_rates.values()))
    by_checkpoint = {f"at_{name}": found.at[:, place] for place, name in enumerate(learning_rates)}
    return compared.bind(influence=found.scores, subtask=found.subtasks, **by_checkpoint).having("influence")
