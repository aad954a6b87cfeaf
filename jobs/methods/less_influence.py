"""LESS's comparison of samples with targets at each checkpoint, and the influence that follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jobs.engine.pool.subset import Subset
from jobs.methods.targets import Targets, target_directions, target_features
from operators.gradients.directions import Aggregate
from operators.gradients.gradient import Gradient
from operators.kernels.influence import Influence, influences, projected_influences


@dataclass(frozen=True)
class Comparison:
    """The targets that the gradients of samples are compared with, and how they are compared."""

    targets: Targets
    aggregate: Aggregate
    projected: bool
    """True: projected gradients are stored, and compared afterwards. False: the samples' gradients are multiplied by
    the targets' directions as they are computed, and only the cosines are stored."""

    def influential(
        self, samples: Subset, gradients: Mapping[str, Gradient], learning_rates: Mapping[str, float]
    ) -> Subset:
        """The samples with an influence (LESS, Xia et al. 2024, arXiv 2402.04333), with the columns of it.

        gradients: the operators for targets, by the names of the checkpoints. influence: the highest influence over the
        subtasks, weighted over the checkpoints by their learning rates. subtask: the number of that subtask.
        at_<name>: the mean cosine to its targets at each checkpoint. What there is of a sample for every subtask stays
        on the workers.
        """
        rates = [learning_rates[name] for name in gradients]
        compare = self._projected if self.projected else self._multiplied
        compared, found = compare(samples, gradients, rates)
        by_checkpoint = {f"at_{name}": found.at[:, place] for place, name in enumerate(gradients)}
        return compared.bind(influence=found.scores, subtask=found.subtasks, **by_checkpoint).having("influence")

    def _projected(
        self, samples: Subset, gradients: Mapping[str, Gradient], rates: list[float]
    ) -> tuple[Subset, Influence]:
        """The samples with a gradient at every checkpoint, and their influence by the stored gradients."""
        targets = []
        for name, gradient in gradients.items():
            samples = samples.map(**{name: of_samples(gradient)})
            targets.append(target_features(self.targets, gradient, name))
        given = {"targets": targets, "subtasks": self.targets.subtasks, "aggregate": self.aggregate}
        return samples, samples.reduce(projected_influences, *gradients, learning_rates=rates, **given)

    def _multiplied(
        self, samples: Subset, gradients: Mapping[str, Gradient], rates: list[float]
    ) -> tuple[Subset, Influence]:
        """The samples with a gradient at every checkpoint, and their influence by the stored cosines."""
        for name, gradient in gradients.items():
            onto = target_directions(self.targets, gradient, self.aggregate)
            samples = samples.map(**{name: replace(of_samples(gradient), onto=onto)})
        return samples, samples.reduce(influences, *gradients, learning_rates=rates)


def of_samples(gradient: Gradient) -> Gradient:
    """The gradient operator for samples at the checkpoint of one for targets: the step that Adam would make with it."""
    return replace(gradient, feature="adam")
