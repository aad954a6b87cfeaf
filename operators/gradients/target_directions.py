"""LESS's targets at a checkpoint: computes the direction of each subtask from its targets' gradients."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.base import RowError
from operators.gradients.directions import Aggregate, Directions
from operators.gradients.gradient import Gradient
from operators.sample import Message
from operators.supervision.supervised import Supervised

if TYPE_CHECKING:
    from torch import Tensor

    from operators.gradients.per_sample import Layers


def directions(
    gradient: Gradient,
    subtasks: Mapping[str, Sequence[Sequence[Message]]],
    file: Path,
    aggregate: Aggregate = "mean_of_cosines",
) -> Directions:
    """Computes the direction of each subtask, for LESS's scores, and writes them to the file.

    gradient: how the targets' gradients are taken, with feature="sgd". subtasks: the messages of each subtask's
    targets. aggregate: as for `influence.subtask_vectors`.

    ValueError for Adam's feature, for a subtask without targets, and for a target that has no gradient, with its
    subtask and number; otherwise as `Gradient.load` raises.
    """
    import torch
    from safetensors.torch import save_file

    from operators.gradients import per_sample
    from operators.models.causal import causal_model
    from operators.models.tokenized import fitting_supervision

    if gradient.feature != "sgd":
        raise ValueError("directions are of plain gradients: set feature to sgd")
    model = causal_model(gradient.model, gradient.adapter, gradient.precision)
    layers = per_sample.adapter_layers(model)
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
    sizes = {name: parameter.numel() for name, parameter in per_sample.parameters(layers).items()}
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
    """(P,) on the CPU, the vector of `influence.subtask_vectors` for one subtask; holds one gradient at a time.

    Gradients are normalised and added up where the model is: a worker has one CPU thread for a hundred million numbers.
    """
    import torch

    from operators.gradients import features as gradient_features
    from operators.gradients import per_sample
    from operators.kernels.adam import sgd_feature
    from operators.kernels.influence import unit_rows
    from operators.models.by_length import Budget

    total = torch.zeros(1, per_sample.size(layers), device=next(model.parameters()).device)
    for number, row in enumerate(rows):
        whole = gradient_features.whole_features(model, [row], layers, Budget(1), lambda _, part: sgd_feature(part))
        if not whole.isfinite().all():
            raise ValueError(f"the gradient of target {number} of {subtask} holds a NaN or an infinity")
        total += unit_rows(whole) if aggregate == "mean_of_cosines" else whole
    return (total / len(rows) if aggregate == "mean_of_cosines" else unit_rows(total / len(rows)))[0].cpu()
