"""LESS: how much a step on a sample lowers the loss of a target, estimated by the angle between gradients.

    score(z) = max over subtasks j of  sum over checkpoints i of  w_i  mean over targets t of j of  cos(f_i(z), h_i(t))

(Xia et al. 2024, definition 3.1.) f is the Adam feature of a sample's gradient, h the gradient of a target, and w the
mean learning rates of the checkpoints. The mean over a subtask's targets goes inside the product, so one vector per
subtask stands for all its targets:

    mean over t of cos(f, h_t) = < f, mean of h_t / |h_t| > / |f|

Both parts of the right-hand side are sums over slices of the coordinates. So features need not be stored or projected:
when they are computed module by module, `dots` and `squares` of each module's slice are added up, which is exact. For
stored, projected features, `projected_influences` takes the columns of all checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from operators.kernels.products import products
from operators.kernels.sharding import by_row

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

ROWS = 8192  # rows that are converted to float32 at a time


@dataclass(frozen=True)
class Influence:
    """The scores of the samples."""

    scores: np.ndarray
    """(n,) float64, from -1 to 1; NaN for a sample with a feature that is not finite."""
    subtasks: np.ndarray
    """(n,) int32 the subtask that has the score, the lowest on ties; -1 where the score is NaN."""
    at: np.ndarray
    """(n, c) float32 mean cosine with that subtask's targets at each checkpoint; NaN where the score is NaN."""


def subtask_vectors(
    targets: torch.Tensor,
    subtasks: np.ndarray,
    aggregate: Literal["mean_of_cosines", "cosine_of_mean"] = "mean_of_cosines",
) -> torch.Tensor:
    """(s, P) float32, the vector that stands for each subtask's targets at one checkpoint.

    targets: (t, P) gradients or their projections. subtasks: (t,) integers from 0, the subtask of each target.
    aggregate: "mean_of_cosines" is the mean of the targets' unit vectors, as in LESS's code; "cosine_of_mean" is the
    unit vector of the targets' mean, as in LESS's text. The two are equal for subtasks with one target. A target of
    zero counts as a vector of zero.

    ValueError for a target that is not finite, and for subtask numbers with a gap.
    """
    subtasks = np.asarray(subtasks)
    if targets.ndim != 2 or subtasks.shape != (len(targets),) or not len(targets):
        raise ValueError(f"targets: (t, P) with a subtask each wanted, not {tuple(targets.shape)}, {subtasks.shape}")
    if aggregate not in ("mean_of_cosines", "cosine_of_mean"):
        raise ValueError(f"aggregate is 'mean_of_cosines' or 'cosine_of_mean', not {aggregate!r}")
    names = np.unique(subtasks)
    if not np.array_equal(names, np.arange(len(names))):
        raise ValueError(f"subtasks are numbered from 0 without a gap, not {names.tolist()}")
    finite = targets.isfinite().all(1)
    if not finite.all():
        raise ValueError(f"target {int(finite.int().argmin())} holds a NaN or an infinity")
    vectors = unit_rows(targets) if aggregate == "mean_of_cosines" else targets.float()
    means = torch.stack([vectors[torch.from_numpy(subtasks == name).to(targets.device)].mean(0) for name in names])
    return means if aggregate == "mean_of_cosines" else unit_rows(means)


def unit_rows(vectors: torch.Tensor) -> torch.Tensor:
    """(n, P) float32 rows of length 1; a row of zeros stays as it is.

    Rows are divided by their largest entry first, so that the squares of small gradients do not underflow.
    """
    vectors = vectors.float()
    largest = vectors.abs().amax(1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)
    return scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp_min(1)


def dots(features: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """(n, s) float32 products of features and subtasks' vectors; products of slices of the coordinates add up."""
    return features.float() @ vectors.float().T


def squares(features: torch.Tensor) -> torch.Tensor:
    """(n,) float64 squared lengths of features; squared lengths of slices of the coordinates add up."""
    return torch.linalg.vector_norm(features, dim=1, dtype=torch.float64).square()


def cosines(products: torch.Tensor, lengths: torch.Tensor) -> np.ndarray:
    """(n, s) float64 mean cosine of each sample with each subtask's targets at one checkpoint.

    products, lengths: `dots` and `squares` over all coordinates. A feature of length 0 has cosine 0 with everything. A
    feature that is not finite has cosine NaN.
    """
    finite = products.isfinite().all(1) & lengths.isfinite()
    shares = products.double() / torch.where(lengths > 0, lengths, 1).sqrt()[:, None]
    return torch.where(finite[:, None], shares, torch.nan).cpu().numpy()


def weighted_influence(by_checkpoint: Sequence[np.ndarray], learning_rates: Sequence[float]) -> Influence:
    """The scores from the (n, s) `cosines` of each checkpoint and the checkpoints' mean learning rates.

    The shares of the learning rates weight the checkpoints. A sample's score is the largest weighted sum over subtasks.
    ValueError where the numbers of tables and rates differ, where the tables differ in shape, and for learning rates as
    `checkpoint_weights` raises it.
    """
    weights = checkpoint_weights(learning_rates)
    if len(by_checkpoint) != len(weights):
        raise ValueError(f"{len(by_checkpoint)} checkpoints and {len(weights)} learning rates")
    shapes = {table.shape for table in by_checkpoint}
    if len(shapes) > 1 or by_checkpoint[0].ndim != 2 or not by_checkpoint[0].shape[1]:
        raise ValueError(f"cosines: one (n, s) for all checkpoints wanted, not {sorted(shapes)}")
    total = sum(weight * table for weight, table in zip(weights, by_checkpoint, strict=True))
    return _best(np.asarray(total, np.float64), by_checkpoint)


@by_row
def influences(*by_checkpoint: np.ndarray, learning_rates: Sequence[float]) -> Influence:
    """`weighted_influence`, with the tables as columns of a reduce."""
    return weighted_influence(by_checkpoint, learning_rates)


@by_row
def projected_influences(
    *by_checkpoint: np.ndarray,
    targets: Sequence[np.ndarray],
    subtasks: np.ndarray,
    learning_rates: Sequence[float],
    aggregate: Literal["mean_of_cosines", "cosine_of_mean"] = "mean_of_cosines",
) -> Influence:
    """`weighted_influence` of stored features: (n, d) of each checkpoint, with the targets' (t, d) of each.

    subtasks and aggregate: as for `subtask_cosines`.
    """
    pairs = zip(by_checkpoint, targets, strict=True)
    tables = [subtask_cosines(each, targets=of, subtasks=subtasks, aggregate=aggregate) for each, of in pairs]
    return weighted_influence(tables, learning_rates)


def checkpoint_weights(learning_rates: Sequence[float]) -> np.ndarray:
    """(c,) float64 share of each checkpoint's mean learning rate in their sum.

    ValueError for rates that are negative, not finite, or all 0.

    >>> checkpoint_weights([3e-5, 1e-5])
    array([0.75, 0.25])
    """
    rates = np.asarray(learning_rates, np.float64)
    if rates.ndim != 1 or not (np.isfinite(rates).all() and (rates >= 0).all() and rates.sum() > 0):
        raise ValueError(f"learning rates are at least 0 and not all 0, not {list(learning_rates)}")
    return rates / rates.sum()


def subtask_cosines(
    features: np.ndarray,
    *,
    targets: np.ndarray,
    subtasks: np.ndarray,
    aggregate: Literal["mean_of_cosines", "cosine_of_mean"] = "mean_of_cosines",
) -> np.ndarray:
    """(n, s) float64 `cosines` of stored features, (n, d), with those of targets, (t, d), at one checkpoint.

    Both come from the same projection, or from none. Their lengths do not matter: only directions count. subtasks and
    aggregate: as for `subtask_vectors`. ValueError where the two differ in d.
    """
    vectors = subtask_vectors(torch.from_numpy(np.array(targets, np.float32)), subtasks, aggregate)
    if features.ndim != 2 or features.shape[1] != vectors.shape[1]:
        raise ValueError(f"features: (n, {vectors.shape[1]}) as the targets wanted, not {features.shape}")
    found = [np.empty((0, len(vectors)))]
    for start in range(0, len(features), ROWS):
        block = torch.from_numpy(np.array(features[start : start + ROWS], np.float32))
        found.append(cosines(products(block, vectors), squares(block)))
    return np.concatenate(found)


def _best(scores: np.ndarray, by_checkpoint: Sequence[np.ndarray]) -> Influence:
    """The largest score of each row of (n, s)."""
    bad = np.isnan(scores).any(axis=1)
    best = scores.argmax(axis=1)
    return Influence(
        scores=np.where(bad, np.nan, scores.max(axis=1)),
        subtasks=np.where(bad, -1, best).astype(np.int32),
        at=np.stack(
            [np.where(bad, np.nan, table[np.arange(len(best)), best]) for table in by_checkpoint], axis=1
        ).astype(np.float32),
    )
