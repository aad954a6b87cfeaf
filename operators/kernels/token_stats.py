"""The negative log-likelihood and the EL2N of each token under a language model, without a table of logits.

EL2N is |p - onehot(y)|, with p the softmax over the vocabulary and y the target (Paul et al. 2021, definition 2.3; per
token as in Marion et al. 2023, equation 6). Both follow from the margin between the target's logit and the others:

    margin = logsumexp(others) - logit of y,    1 - p_y = sigmoid(margin),    NLL = log(1 + exp(margin)),
    EL2N   = (1 - p_y) sqrt(1 + sum q²),        q the softmax over the others alone

Nothing here subtracts two numbers close to one, so a token that the model is almost certain of keeps its digits. The
textbook form, sum p² - 2 p_y + 1, is 0 in float32 from p_y = .9999 on. The sums over the other logits are computed one
tile of the vocabulary at a time, scaled by the largest logit so far, so only one tile of logits exists at a time.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

CPU_TILE = (512, 2048)  # 4 MB of logits
CUDA_TILE = (2048, 16_384)  # 128 MB: kernels large enough that launching them costs nothing


@dataclass(frozen=True)
class TokenStats:
    """Statistics of each token; NaN where its logits contain a NaN or a positive infinity."""

    nll: torch.Tensor
    """(tokens,) float32 negative log-likelihood in nats."""
    el2n: torch.Tensor
    """(tokens,) float32, from 0 to sqrt 2."""


@dataclass(frozen=True)
class SampleStats:
    """The statistics per sample; every float of a sample without tokens is NaN."""

    tokens: torch.Tensor
    """(n,) int64 number of tokens of the sample."""
    nll_sum: torch.Tensor
    """(n,) float32, like all fields below."""
    nll_mean: torch.Tensor
    el2n_sum: torch.Tensor
    el2n_mean: torch.Tensor
    el2n_fro: torch.Tensor
    """The root of the sum of squares: the Frobenius norm of the sample's error matrix."""


class _Others:
    """For each row, its target's logit, and sums over the other logits so far, as multiples of exp(top)."""

    def __init__(self, rows: int, device: torch.device):
        # The least float, not -inf: rows whose logits so far are all -inf then need no case of their own.
        self.top = torch.full((rows,), torch.finfo(torch.float32).min, device=device)
        self.total = torch.zeros(rows, device=device)
        self.squares = torch.zeros(rows, device=device)
        self.own = torch.full((rows,), torch.nan, device=device)

    def add(self, span: slice, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Adds more logits of the rows of the span, and overwrites them; targets: columns, which may lie outside."""
        among = torch.nonzero((targets >= 0) & (targets < logits.shape[1]))[:, 0]
        self.own[span][among] = logits[among, targets[among]]
        logits[among, targets[among]] = -torch.inf
        top = torch.maximum(self.top[span], logits.amax(1))
        shrink = (self.top[span] - top).exp_()
        self.top[span] = top
        self.total[span] = self.total[span] * shrink + logits.sub_(top[:, None]).exp_().sum(1)
        self.squares[span] = self.squares[span] * shrink.square() + torch.linalg.vector_norm(logits, dim=1).square()

    def stats(self) -> TokenStats:
        margin = self.top + self.total.log() - self.own
        margin[self.own == torch.inf] = torch.nan
        spread = self.squares / self.total.square().clamp_min(1)  # below 1 only where every other logit is -inf
        return TokenStats(functional.softplus(margin), margin.sigmoid() * (1 + spread).sqrt())


@torch.no_grad()
def token_stats(
    hidden: torch.Tensor,
    head: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    tile: tuple[int, int] | None = None,
) -> TokenStats:
    """NLL and EL2N of each token, (tokens,) float32 each, for inputs of any precision.

    hidden: (tokens, h) last hidden states, each of which predicts its target. head: (V, h), the rows of the output
    layer. targets: (tokens,) int64 of 0 … V - 1. bias: (V,). All are on one device. The caller leaves out tokens that
    are not scored (prompt, padding, label -100). tile: the numbers of tokens and of vocabulary entries at a time; the
    default suits the device, and another changes only the last digits.

    ValueError for shapes that do not fit, fewer than two classes, or a target outside them.
    """
    tokens, classes = len(hidden), len(head)
    if head.ndim != 2:
        raise ValueError(f"head: (V, h) wanted, not {tuple(head.shape)}")
    _check(hidden, (tokens, head.shape[1]), targets, classes)
    if bias is not None and bias.shape != (classes,):
        raise ValueError(f"bias: ({classes},) wanted, not {tuple(bias.shape)}")
    rows, columns = tile or (CUDA_TILE if hidden.is_cuda else CPU_TILE)
    others = _Others(tokens, hidden.device)
    room = torch.empty(min(rows, tokens) * min(columns, classes), device=hidden.device)
    for left in range(0, classes, columns):
        weights = _operand(head[left : left + columns])
        offset = None if bias is None else bias[left : left + columns].float()
        for start in range(0, tokens, rows):
            span = slice(start, min(start + rows, tokens))
            states = _operand(hidden[span])
            logits = _product(states, weights, room[: len(states) * len(weights)].view(len(states), len(weights)))
            if offset is not None:
                logits += offset
            others.add(span, logits, targets[span] - left)
    return others.stats()


@torch.no_grad()
def el2n(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(n,) float32 EL2N of a classifier: |softmax(logits) - onehot(labels)|.

    logits: (n, classes). labels: (n,) int64 of 0 … classes - 1. ValueError for shapes that do not fit, fewer than two
    classes, or a label outside them.

    >>> el2n(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]).log(), torch.tensor([0, 2]))
    tensor([0.3742, 1.2083])
    """
    _check(logits, (len(labels), logits.shape[-1]), labels, logits.shape[-1])
    others = _Others(len(logits), logits.device)
    if len(logits):
        others.add(slice(None), logits.to(torch.float32, copy=True), labels)
    return others.stats().el2n


def sample_stats(stats: TokenStats, samples: torch.Tensor, n: int) -> SampleStats:
    """The statistics of n samples from those of their tokens; sums are computed in float64.

    samples: (tokens,) int64 of 0 … n - 1, the number of each token's sample. ValueError for shapes that do not fit, and
    for a number outside the n.
    """
    if samples.shape != stats.nll.shape or samples.dtype != torch.int64:
        raise ValueError(f"samples: {tuple(stats.nll.shape)} int64 wanted, not {tuple(samples.shape)} {samples.dtype}")
    _check_range(samples, n, "sample")
    nll, errors = stats.nll.double(), stats.el2n.double()
    columns = torch.stack([torch.ones_like(nll), nll, errors, errors.square()], 1)
    sums = columns.new_zeros(n, 4).index_add_(0, samples, columns)
    count = sums[:, 0]
    sums[count == 0, 1:] = torch.nan
    by_sample = (sums[:, 1], sums[:, 1] / count, sums[:, 2], sums[:, 2] / count, sums[:, 3].sqrt())
    return SampleStats(count.long(), *(values.float() for values in by_sample))


def _check(values: torch.Tensor, shape: tuple[int, int], targets: torch.Tensor, classes: int) -> None:
    if values.shape != shape or not values.is_floating_point():
        raise ValueError(f"{shape} floats wanted, not {tuple(values.shape)} {values.dtype}")
    if classes < 2:
        raise ValueError(f"two classes or more wanted, not {classes}")
    if targets.shape != shape[:1] or targets.dtype != torch.int64:
        raise ValueError(f"targets: {shape[:1]} int64 wanted, not {tuple(targets.shape)} {targets.dtype}")
    _check_range(targets, classes, "target")


def _check_range(numbers: torch.Tensor, stop: int, name: str) -> None:
    outside = (numbers < 0) | (numbers >= stop)
    if outside.any():
        first = int(outside.int().argmax())
        raise ValueError(f"{name} {int(numbers[first])} at position {first} is not in 0 … {stop - 1}")


def _operand(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix to multiply. A GPU multiplies halves into float32; a CPU would round the logits to halves."""
    return matrix if matrix.is_cuda and matrix.dtype in (torch.float16, torch.bfloat16) else matrix.float()


def _product(states: torch.Tensor, weights: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """states @ weights.T in float32."""
    if states.dtype == weights.dtype and states.dtype != torch.float32:
        return torch.mm(states, weights.T, out_dtype=torch.float32, out=out)
    return torch.mm(states.float(), weights.float().T, out=out)
