"""The feature that LESS takes of a gradient: the step that Adam would make with it, or the gradient itself.

Gradients are (n, P) with a row a sample, moments (P,) as the optimiser of the warmup left them. All of it goes
coordinate by coordinate, so a module's slice of the coordinates may be given by itself.
"""

from typing import Literal

import torch

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def adam_feature(
    gradients: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    betas: tuple[float, float] = BETAS,
    epsilon: float = EPSILON,
    placement: Literal["inside", "outside"] = "inside",
) -> torch.Tensor:
    """(n, P) m' / sqrt(v' + epsilon) in float32, with m' and v' the moments after one more step with the gradient.

    m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g², uncorrected for bias (LESS, definition 3.1, as its code has it).
    placement: epsilon inside the root, as LESS's code has it, or outside, as optimisers do: sqrt(v') + epsilon. It
    matters: inside, 1e-8 is a floor of 1e-4 under a denominator that is often smaller.

    A gradient that is not finite gives a feature that is not. ValueError for shapes that do not fit, a negative
    second moment, betas outside [0, 1) or an epsilon that is not positive.
    """
    step = _second_moments(gradients, second, betas, epsilon)
    if placement == "inside":
        denominator = step.add_(epsilon).sqrt_()
    elif placement == "outside":
        denominator = step.sqrt_().add_(epsilon)
    else:
        raise ValueError(f"placement is 'inside' or 'outside', not {placement!r}")
    _check_moment(gradients, first, "first")
    return torch.add(betas[0] * first.float(), gradients.float(), alpha=1 - betas[0]).div_(denominator)


def sgd_feature(gradients: torch.Tensor) -> torch.Tensor:
    """(n, P) float32: the gradient as it is, which LESS takes of target samples."""
    return gradients.float()


def _second_moments(
    gradients: torch.Tensor, second: torch.Tensor, betas: tuple[float, float], epsilon: float
) -> torch.Tensor:
    """(n, P) float32 v', the caller's to write over."""
    if gradients.ndim != 2:
        raise ValueError(f"gradients: (n, P) wanted, not {tuple(gradients.shape)}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas are from 0 to below 1, not {betas}")
    if not epsilon > 0:
        raise ValueError(f"epsilon is above 0, not {epsilon}")
    _check_moment(gradients, second, "second")
    if (second < 0).any():
        raise ValueError("a second moment is negative")
    return gradients.float().square().mul_(1 - betas[1]).add_(betas[1] * second.float())


def _check_moment(gradients: torch.Tensor, moment: torch.Tensor, name: str) -> None:
    if moment.shape != gradients.shape[1:]:
        raise ValueError(f"{name} moment: {tuple(gradients.shape[1:])} wanted, not {tuple(moment.shape)}")
    if not moment.isfinite().all():
        raise ValueError(f"{name} moment holds a NaN or an infinity")
