"""LESS's targets as a file: of each subtask the one vector that stands for its targets' gradients.

The mean over a subtask's targets goes inside the product with a sample's gradient (operators/kernels/influence.py), so
that the cosines to all of them cost one product, and no random projection stands between.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic.dataclasses import dataclass

from operators.base import STRICT, RowError
from operators.missing import ModelMissing
from operators.sample import Message
from operators.supervision.supervised import Supervised

if TYPE_CHECKING:
    from torch import Tensor

    from operators.gradients.gradient import Gradient
    from operators.gradients.taps import Layers

Aggregate = Literal["mean_of_cosines", "cosine_of_mean"]
"""How a subtask's targets become one vector (operators/kernels/influence.py)."""


@dataclass(frozen=True, config=STRICT)
class Directions:
    """A file that `directions` wrote: of each subtask, the vector that stands for its targets' gradients."""

    file: str

    def identity(self) -> dict[str, str]:
        """The file's content; where it lies does not enter."""
        with self._path().open("rb") as file:
            return {"content": hashlib.file_digest(file, "sha256").hexdigest()}

    def subtasks(self) -> list[str]:
        """The subtasks' names, in the order of the cosines."""
        from safetensors import safe_open

        with safe_open(self._path(), "pt") as file:
            return json.loads(file.metadata()["subtasks"])

    def tensors(self, device: Any) -> dict[str, "Tensor"]:
        """Of each parameter, (subtasks, p) float32."""
        from safetensors.torch import load_file

        return load_file(self._path(), device=str(device))

    def check(self) -> None:
        """ModelMissing where the file is not there."""
        self._path()

    def _path(self) -> Path:
        path = Path(self.file).expanduser()
        if not path.is_file():
            raise ModelMissing(f"directions {self.file}: there is no such file")
        return path


def directions(
    gradient: "Gradient",
    subtasks: Mapping[str, Sequence[Sequence[Message]]],
    file: Path,
    aggregate: Aggregate = "mean_of_cosines",
) -> Directions:
    """The directions of the subtasks' targets, written to the file: what stands for them in LESS's scores.

    gradient: how targets' gradients are taken, with feature="sgd"; subtasks: the messages of each one's targets.
    aggregate: as `influence.subtask_vectors`. ValueError for Adam's feature, for a subtask without targets, and for a
    target that has no gradient, by subtask and number; otherwise as `Gradient.load`.
    """
    import torch
    from safetensors.torch import save_file

    from operators.gradients import taps
    from operators.losses.tokenized import fitting_supervision
    from operators.models.causal import causal_model

    if gradient.feature != "sgd":
        raise ValueError("directions are of plain gradients: set feature to sgd")
    model = causal_model(gradient.model, gradient.adapter, gradient.precision)
    layers = taps.adapter_layers(model)
    supervision = fitting_supervision(model, gradient.model, gradient.template, gradient.max_tokens)
    found = []
    for name, targets in subtasks.items():
        rows: list[Supervised] = []
        for number, messages in enumerate(targets):
            try:
                rows.append(supervision(number, messages))
            except RowError as error:
                hint = f"leave it out, or raise max_tokens (now {supervision.max_tokens:,}) where it was cut"
                raise ValueError(f"target {number} of {name}: {error}; {hint}") from error
        if not rows:
            raise ValueError(f"the subtask {name} has no targets")
        found.append(_direction(model, rows, layers, aggregate, name))
    sizes = {name: parameter.numel() for name, parameter in taps.parameters(layers).items()}
    parts = torch.stack(found).split(list(sizes.values()), dim=1)
    half = file.with_name(f".{file.name}")
    save_file(
        {name: part.contiguous() for name, part in zip(sizes, parts, strict=True)},
        half,
        metadata={"subtasks": json.dumps(list(subtasks), ensure_ascii=False)},
    )
    os.replace(half, file)
    return Directions(str(file))


def _direction(
    model: Any, rows: Sequence[Supervised], layers: "Layers", aggregate: Aggregate, subtask: str
) -> "Tensor":
    """(P,) what stands for a subtask's targets, as `influence.subtask_vectors` has it; one target's gradient a time."""
    import torch

    from operators.gradients import features as gradient_features
    from operators.gradients import taps
    from operators.kernels.adam import sgd_feature
    from operators.kernels.influence import unit_rows

    total = torch.zeros(1, taps.size(layers))
    for number, row in enumerate(rows):
        whole = gradient_features.whole_features(model, [row], layers, lambda _, part: sgd_feature(part)).cpu()
        if not whole.isfinite().all():
            raise ValueError(f"the gradient of target {number} of {subtask} holds a NaN or an infinity")
        total += unit_rows(whole) if aggregate == "mean_of_cosines" else whole
    return (total / len(rows) if aggregate == "mean_of_cosines" else unit_rows(total / len(rows)))[0]


def fitting_directions(directions: Directions, layers: "Layers") -> dict[str, "Tensor"]:
    """The directions' parts, on the layers' device; ValueError where they are of other parameters than the layers'."""
    from operators.gradients import taps

    found = directions.tensors(next(iter(layers.values())).weight.device)
    sizes = {name: parameter.numel() for name, parameter in taps.parameters(layers).items()}
    if sizes != {name: part.shape[1] for name, part in found.items()}:
        raise ValueError(
            f"the directions in {directions.file} have {sum(part.shape[1] for part in found.values()):,} coordinates "
            f"of other parameters than the adapter's {sum(sizes.values()):,}"
        )
    return found
