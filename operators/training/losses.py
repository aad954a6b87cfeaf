"""The losses of a step's rows, which training adds up and differentiates."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from operators.losses.classifier import predictions
from operators.models.forward import hidden_at, language_head, padded
from operators.supervision.labels import Labels
from operators.supervision.supervised import IGNORED, Supervised
from operators.training.finetune import TrainingPrecision


@contextmanager
def precise(precision: TrainingPrecision, device: torch.device) -> Iterator[None]:
    """A context in which matrix products are computed in the precision."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def supervised_counts(rows: Sequence[Supervised], labels: Labels | None) -> np.ndarray:
    """(rows,) int64 number of supervised tokens per row, 1 for a classified text; ValueError for a row with none."""
    if labels is not None:
        return np.ones(len(rows), np.int64)
    wrong = [row.id for row in rows if not row.count]
    if wrong:
        raise ValueError(f"samples {wrong[:10]} have no token to supervise")
    return np.array([row.count for row in rows], np.int64)


def summed_losses(model: Any, rows: Sequence[Supervised], labels: Labels | None) -> tuple[Tensor, Tensor]:
    """The summed loss per row, and whether a classifier's prediction is correct.

    Returns (rows,) float32 sums of the negative log-likelihood of the supervised tokens (nats), or a classifier's
    `Predictions.losses`; and (rows,) float32, 1 where a classifier predicts the row's class, 0 for a language model.
    """
    if labels is not None:
        found = predictions(model, rows, labels)
        return found.losses(), found.correct.float()
    ids, targets = padded(rows, next(model.parameters()).device)
    supervised = F.pad(targets[:, 1:] != IGNORED, (0, 1))
    with hidden_at(language_head(model), supervised):
        logits = model(input_ids=ids, use_cache=False).logits[0]
    losses = F.cross_entropy(logits.float(), targets.roll(-1, 1)[supervised], reduction="none")
    zeros = torch.zeros(len(rows), device=ids.device)
    return zeros.index_add(0, supervised.nonzero()[:, 0], losses), zeros
