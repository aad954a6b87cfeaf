"""The direction of the gradient of a sample's response loss.

    Gradient(model, adapter=epoch)                                       # LESS's datastore: 8192 numbers per sample
    Gradient(model, adapter=epoch, feature="sgd")                        # its targets, in the same projection
    Gradient(model, adapter=epoch, onto=Directions("t.safetensors"))     # one cosine per subtask

LESS (Xia et al. 2024, arXiv 2402.04333): the loss is the mean negative log-likelihood of the response's tokens. The
gradient is taken with respect to the A and B of a LoRA adapter after an epoch of warm-up. The Adam moments of that
epoch turn a sample's gradient into the step that Adam would make. Only directions count, so vectors have length 1.

Where the targets are known beforehand, their `Directions` give the cosines that projections estimate, without an error
and in less space.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.gradients.directions import Directions, fitting_directions
from operators.models.precision import Precision
from operators.positions import SampleTokens, refuse_too_many
from operators.supervision.supervised import Supervised, Template
from operators.training.files import MOMENTS

if TYPE_CHECKING:
    from torch import Tensor

    from operators.gradients.features import Feature
    from operators.gradients.per_sample import Layers
    from operators.kernels.projection import Projection

    Vectors = Callable[[Sequence[Supervised]], tuple[Tensor, Tensor]]
    """A function from rows to their vectors, (rows, width), and their features' squared lengths, (rows,)."""

WHOLE_BYTES = 2**30
"""Memory for the features of rows that are projected together; on a GPU it is a quarter of what is free."""

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class Projected:
    """A random projection that keeps inner products (operators/kernels/projection.py)."""

    kind: Literal["shift", "rademacher"] = "shift"
    """rademacher: independent signs, as in LESS; shift: the same accuracy at a thousandth of the cost."""
    dimensions: Annotated[int, Field(ge=1)] = 8192
    seed: Annotated[int, Field(ge=0)] = 0
    stored: Literal["float16", "float32"] = "float16"


@dataclass(frozen=True, config=STRICT)
class Gradient(Operator):
    """A sample's gradient: a projected vector of length 1, or its cosines to given directions."""

    version: ClassVar[int] = 2

    model: Checkpoint
    adapter: Checkpoint
    """An epoch's folder of a LoRA training run of the model."""
    feature: Literal["sgd", "adam"] = "adam"
    """adam: the step that Adam would make with the gradient; sgd: the gradient itself, as LESS takes it for targets."""
    onto: Projected | Directions = Projected()
    template: Template = "tulu"
    max_tokens: SampleTokens = None
    """The number of tokens after which a sample is cut."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    epsilon_place: Literal["inside", "outside"] = "inside"
    """Where epsilon is added, inside the root of the second moment, as LESS's code does, or outside, as Adam does."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere. The adapter's gradients are always float32."""

    def check(self) -> None:
        """Raises ModelMissing where the model, the adapter or the directions are not there.

        ValueError where max_tokens is more than the model has positions.
        """
        self.model.check()
        self.adapter.check()
        if isinstance(self.onto, Directions):
            self.onto.check()
        refuse_too_many(self.model, self.max_tokens)

    def load(self) -> Compute:
        """A function from a batch to one vector per row, or a RowError.

        The vector has length 1 and `Projected.dimensions` numbers, or it has the mean cosine to each of the directions'
        subtasks. The kinds of error are those of `Supervision`, nonfinite, and zero_gradient (which has no direction).
        On a CPU a value is bitwise the same whatever samples are computed with it, except for the last bits of a
        rademacher projection.

        ValueError for an adapter that does not fit the model, or that has more than LoRA's A and B. For Adam's feature,
        also for an adapter that was never trained (all B are 0), or whose folder lacks Adam's moments. ValueError for
        directions of other parameters.
        """
        from operators.gradients import per_sample
        from operators.models.ahead import overlapped
        from operators.models.causal import causal_model
        from operators.models.tokenized import attempts, fitting_supervision, values_of

        model = causal_model(self.model, self.adapter, self.precision)
        layers = per_sample.adapter_layers(model)
        supervision = fitting_supervision(model, self.model, self.template, self.max_tokens)
        vectors = self._vectors(model, layers, self._feature(layers))

        def values(rows: list[Supervised]) -> Iterable[Any]:
            return map(self._value, *(each.cpu() for each in vectors(rows))) if rows else ()

        device = next(model.parameters()).device
        return overlapped(lambda batch: attempts(supervision, batch), lambda rows: values_of(rows, values), device.type)

    def _feature(self, layers: "Layers") -> "Feature":
        from operators.kernels.adam import adam_feature, sgd_feature

        if self.feature == "sgd":
            return lambda name, gradients: sgd_feature(gradients)
        refuse_untrained(layers, self.adapter)
        moments = adam_moments(self.adapter.folder() / MOMENTS, layers)
        return lambda name, gradients: adam_feature(
            gradients, *moments[name], betas=self.betas, epsilon=self.epsilon, placement=self.epsilon_place
        )

    def _vectors(self, model: Any, layers: "Layers", feature: "Feature") -> "Vectors":
        from operators.gradients import per_sample
        from operators.kernels.projection import Projection

        if isinstance(self.onto, Directions):
            return _compared(model, layers, feature, fitting_directions(self.onto, layers))
        law = Projection(self.onto.kind, self.onto.dimensions, self.onto.seed, per_sample.size(layers))
        return _projected(model, layers, feature, law, self.precision)

    def _value(self, vector: "Tensor", square: "Tensor") -> np.ndarray | RowError:
        if not (vector.isfinite().all() and square.isfinite()):
            return RowError("nonfinite", "the gradient holds a NaN or an infinity")
        if not square:
            return RowError("zero_gradient")
        return vector.numpy().astype(self.onto.stored if isinstance(self.onto, Projected) else "float32")


def _compared(model: Any, layers: "Layers", feature: "Feature", directions: Mapping[str, "Tensor"]) -> "Vectors":
    """A function from rows to their cosines to the directions, added up parameter by parameter."""
    import torch

    from operators.gradients import features as gradient_features
    from operators.kernels.influence import cosines, dots
    from operators.models.memory import backward_budget

    count = len(next(iter(directions.values())))
    budget = backward_budget(model)

    def share(name: str, part: "Tensor") -> "Tensor":
        return dots(part, directions[name])

    def vectors(rows: Sequence[Supervised]) -> tuple["Tensor", "Tensor"]:
        products, squares = gradient_features.mapped_features(model, rows, layers, budget, feature, share, count)
        return torch.from_numpy(cosines(products, squares)), squares

    return vectors


def _projected(model: Any, layers: "Layers", feature: "Feature", law: "Projection", precision: Precision) -> "Vectors":
    """A function from rows to their projections, of as many rows at a time as fit in memory.

    Generating a projection's signs is expensive, and rows that are projected together share them.
    """
    import torch

    from operators.gradients import features as gradient_features
    from operators.kernels.influence import squares, unit_rows
    from operators.kernels.projection import project
    from operators.models.loading import bfloat16_is_fast
    from operators.models.memory import backward_budget, free_bytes

    device = next(model.parameters()).device
    room = free_bytes(device) // 4 if device.type == "cuda" else WHOLE_BYTES
    step = max(1, room // (4 * law.coordinates))
    budget = backward_budget(model)
    short = precision == "bfloat16" or (precision == "auto" and bfloat16_is_fast(device))

    def vectors(rows: Sequence[Supervised]) -> tuple["Tensor", "Tensor"]:
        images, lengths = [], []
        for start in range(0, len(rows), step):
            whole = gradient_features.whole_features(model, rows[start : start + step], layers, budget, feature)
            lengths.append(squares(whole))
            images.append(project(whole, law, precision="bfloat16" if short else "float32"))
        return unit_rows(torch.cat(images)), torch.cat(lengths)

    return vectors


def refuse_untrained(layers: "Layers", adapter: Checkpoint) -> None:
    """Raises ValueError where every B of the adapter is 0, because then the gradient of every A is 0 too."""
    if not any(layer.weight.any() for name, layer in layers.items() if ".lora_B." in name):
        raise ValueError(
            f"the adapter {adapter.name} was never trained (its B matrices are all 0), so that half of every gradient "
            "would be 0 and the rest say nothing of training: give the folder of an epoch of a warm-up"
        )


def adam_moments(path: Path, layers: "Layers") -> dict[str, tuple["Tensor", "Tensor"]]:
    """Adam's first and second moments by parameter, (p,) float32 each, on the layers' device.

    ValueError where the file is not there, lacks moments of the right size for a parameter, or has moments that are no
    moments.
    """
    from safetensors import safe_open

    from operators.gradients import per_sample
    from operators.kernels.adam import check_moments

    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}: Adam's feature wants the moments that training left")
    device = next(iter(layers.values())).weight.device
    moments = {}
    with safe_open(path, "pt", device=str(device)) as file:
        stored = set(file.keys())
        for name, parameter in per_sample.parameters(layers).items():
            names = [f"exp_avg.{name}", f"exp_avg_sq.{name}"]
            first, second = (file.get_tensor(each).float().flatten() if each in stored else None for each in names)
            if first is None or second is None or not len(first) == len(second) == parameter.numel():
                raise ValueError(f"{path} has no moments of {parameter.numel()} values for {name}")
            check_moments(first, second)
            moments[name] = first, second
    return moments
