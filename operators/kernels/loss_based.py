"""LoBaSS: how much of a sample's loss fine-tuning removes (Zhou et al. 2023, arXiv 2310.13008; version 2: DavIR)."""

from typing import Literal

import numpy as np

from operators.kernels.sharding import by_row

Version = Literal["v1_unnormalised", "v1_normalised", "v2"]
Reduction = Literal["mean", "sum"]


def learnability(
    base_sums: np.ndarray,
    base_tokens: np.ndarray,
    reference_sums: np.ndarray,
    reference_tokens: np.ndarray,
    *,
    version: Version = "v2",
    reduction: Reduction = "mean",
) -> np.ndarray:
    """(n,) float64 learnability score of each sample: higher scores are more worth learning.

    base: the model before fine-tuning; reference: the same model after it. sums: (n,) each response's negative
    log-likelihood (nats), summed over its tokens. tokens: (n,) integers, the number of those tokens, 0 where there is
    nothing to score.

    version: "v1_unnormalised" is base - reference, of the losses per token or of their sums, as `reduction` says.
    "v1_normalised" and "v2" divide that by base, so they are at most 1, and the reduction cancels.

    A score is NaN where a sample has no token, where a loss is not finite, and where a normalised score would divide by
    a loss of 0. ValueError for columns of different lengths, for token counts that differ between the models (which
    then have not read the same tokens), and for a loss or a count below 0.
    """
    _check(base_sums, base_tokens, reference_sums, reference_tokens)
    if version not in ("v1_unnormalised", "v1_normalised", "v2"):
        raise ValueError(f"version is 'v1_unnormalised', 'v1_normalised' or 'v2', not {version!r}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is 'mean' or 'sum', not {reduction!r}")
    before, after = (np.asarray(sums, np.float64) for sums in (base_sums, reference_sums))
    usable = (base_tokens > 0) & np.isfinite(before) & np.isfinite(after)
    divisor = np.ones_like(before)
    if version != "v1_unnormalised":  # a ratio of sums needs no division by the tokens
        divisor = before
    elif reduction == "mean":
        divisor = np.asarray(base_tokens, np.float64)
    usable &= divisor > 0
    scores = np.full(len(before), np.nan)
    np.subtract(before, after, out=scores, where=usable)
    return np.divide(scores, divisor, out=scores, where=usable)


@by_row
def worth_learning(
    scores: np.ndarray,
    losses: np.ndarray,
    tokens: np.ndarray,
    *,
    least_score: float | None = None,
    least_loss: float = 0.0,
    least_tokens: int = 1,
) -> np.ndarray:
    """(n,) bool, whether a sample is at or above all floors; a score of NaN is not.

    losses: (n,) the base model's, nats per token. tokens: (n,) the response's. The floors are not in the paper, which
    goes by rank alone. A score near 1 for a tiny loss, or for a token or two, is chance rather than something learnt.
    """
    wanted = ~np.isnan(scores) & (losses >= least_loss) & (tokens >= least_tokens)
    return wanted if least_score is None else wanted & (scores >= least_score)


def _check(
    base_sums: np.ndarray, base_tokens: np.ndarray, reference_sums: np.ndarray, reference_tokens: np.ndarray
) -> None:
    lengths = {len(column) for column in (base_sums, base_tokens, reference_sums, reference_tokens)}
    if len(lengths) > 1:
        raise ValueError(f"columns of {' and '.join(map(str, sorted(lengths)))} samples")
    differing = np.flatnonzero(base_tokens != reference_tokens)
    if len(differing):
        at = differing[0]
        raise ValueError(
            f"sample {at} has {base_tokens[at]} tokens under the base model and {reference_tokens[at]} under the "
            f"reference ({len(differing)} samples differ): the two must read the same tokens"
        )
    for name, column in (("base loss", base_sums), ("reference loss", reference_sums), ("tokens", base_tokens)):
        negative = np.flatnonzero(column < 0)
        if len(negative):
            raise ValueError(f"sample {negative[0]}: {name} {column[negative[0]]} is below 0")
