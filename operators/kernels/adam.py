"""LESS's features of gradients: the step that Adam would make with a gradient, or the gradient itself.

Gradients are (n, P), one row per sample. Moments are (P,), as the optimiser of the warm-up left them. Every coordinate
is computed by itself, so the functions also take a slice of the coordinates, such as one module's.
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
    """Adam's step with each gradient, (n, P) float32: m' / sqrt(v' + epsilon).

    m' = b1 m + (1 - b1) g and v' = b2 v + (1 - b2) g² are the moments after one more step with the gradient g, without
    bias correction (Xia et al. 2024, definition 3.1, as in LESS's code).

    first, second: (P,) the moments m and v. placement: "inside" adds epsilon inside the root, as LESS's code does;
    "outside" computes sqrt(v') + epsilon, as Adam does. The difference matters: inside, an epsilon of 1e-8 keeps the
    denominator above 1e-4, and it is often smaller otherwise.

    A gradient that is not finite gives a feature that is not finite. The moments' values are not looked at, because a
    GPU would have to wait for that at every call: `check_moments` looks at them once. ValueError for shapes that do not
    fit, betas outside [0, 1) or an epsilon that is not positive.
    """
    step = _second_moments(gradients, first, second, betas, epsilon)
    if placement == "inside":
        denominator = step.add_(epsilon).sqrt_()
    elif placement == "outside":
        denominator = step.sqrt_().add_(epsilon)
    else:
        raise ValueError(f"placement is 'inside' or 'outside', not {placement!r}")
    return torch.add(betas[0] * first.float(), gradients.float(), alpha=1 - betas[0]).div_(denominator)


def sgd_feature(gradients: torch.Tensor) -> torch.Tensor:
    """The gradients themselves as (n, P) float32, which LESS uses for target samples."""
    return gradients.float()


def check_moments(first: torch.Tensor, second: torch.Tensor) -> None:
    """Raises ValueError for a moment that holds a NaN or an infinity, and for a negative second moment."""
    for name, moment in (("first", first), ("second", second)):
        if not moment.isfinite().all():
            raise ValueError(f"{name} moment holds a NaN or an infinity")
    if (second < 0).any():
        raise ValueError("a second moment is negative")


def _second_moments(
    gradients: torch.Tensor, first: torch.Tensor, second: torch.Tensor, betas: tuple[float, float], epsilon: float
) -> torch.Tensor:
    """(n, P) float32 v', in new memory that the caller may overwrite."""
    if gradients.ndim != 2:
        raise ValueError(f"gradients: (n, P) wanted, not {tuple(gradients.shape)}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas are from 0 to below 1, not {betas}")
    if not epsilon > 0:
        raise ValueError(f"epsilon is above 0, not {epsilon}")
    for name, moment in (("first", first), ("second", second)):
        if moment.shape != gradients.shape[1:]:
            raise ValueError(f"{name} moment: {tuple(gradients.shape[1:])} wanted, not {tuple(moment.shape)}")
    return gradients.float().square().mul_(1 - betas[1]).add_(betas[1] * second.float())
