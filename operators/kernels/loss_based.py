"""LoBaSS: how much of a sample's loss fine-tuning takes away (Zhou et al. 2023, arXiv 2310.13008; version 2: DavIR)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Losses:
    """What one model makes of each sample's response."""

    sums: np.ndarray
    """(n,) negative log-likelihood summed over the response's tokens, in nats."""
    tokens: np.ndarray
    """(n,) whole numbers, how many tokens that is; 0 where there is nothing to score."""

    def means(self) -> np.ndarray:
        """(n,) float64 loss a token; NaN where there is no token."""
        return np.divide(self.sums, self.tokens, out=np.full(len(self.sums), np.nan), where=self.tokens > 0)


def learnability(
    base: Losses,
    reference: Losses,
    *,
    version: Literal["v1_unnormalised", "v1_normalised", "v2"] = "v2",
    reduction: Literal["mean", "sum"] = "mean",
) -> np.ndarray:
    """(n,) float64 score of each sample, the highest the most worth learning; NaN where there is none.

    base: the losses of the model before fine-tuning; reference: of the same model after it. v1_unnormalised is
    base - reference, of the losses a token or of their sums as `reduction` says; v1_normalised and v2 divide it by
    base, at most 1, and the reduction cancels. A score is NaN where a sample has no token or a loss is not finite,
    and where a normalised one would divide by a loss of 0.

    ValueError for columns of different lengths, token counts that differ between the models (they have then not read
    the same tokens), or a loss or a count below 0.
    """
    _check(base, reference)
    if version not in ("v1_unnormalised", "v1_normalised", "v2"):
        raise ValueError(f"version is 'v1_unnormalised', 'v1_normalised' or 'v2', not {version!r}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is 'mean' or 'sum', not {reduction!r}")
    by_sum = reduction == "sum" or version != "v1_unnormalised"  # a ratio of sums needs no division by the tokens
    before, after = (np.asarray(losses.sums if by_sum else losses.means(), float) for losses in (base, reference))
    usable = (base.tokens > 0) & np.isfinite(before) & np.isfinite(after)
    scores = np.full(len(before), np.nan)
    if version == "v1_unnormalised":
        return np.subtract(before, after, out=scores, where=usable)
    usable &= before > 0
    np.subtract(before, after, out=scores, where=usable)
    return np.divide(scores, before, out=scores, where=usable)


def _check(base: Losses, reference: Losses) -> None:
    lengths = {len(column) for losses in (base, reference) for column in (losses.sums, losses.tokens)}
    if len(lengths) > 1:
        raise ValueError(f"columns of {' and '.join(map(str, sorted(lengths)))} samples")
    differing = np.flatnonzero(base.tokens != reference.tokens)
    if len(differing):
        at = differing[0]
        raise ValueError(
            f"sample {at} has {base.tokens[at]} tokens under the base model and {reference.tokens[at]} under the "
            f"reference ({len(differing)} samples differ): the two must read the same tokens"
        )
    for name, column in (("base loss", base.sums), ("reference loss", reference.sums), ("tokens", base.tokens)):
        negative = np.flatnonzero(column < 0)
        if len(negative):
            raise ValueError(f"sample {negative[0]}: {name} {column[negative[0]]} is below 0")
