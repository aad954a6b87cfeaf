"""The selections of benchmarks.gpu: ours, the naive form, and what the device needs at least."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks._roofline import Roofline, line, seconds
from operators.kernels.device import ROWS
from operators.kernels.k_center import k_center
from operators.kernels.kmeans import EACH, SAMPLE, SHARE, kmeans

STEPS = 20  # of the naive k-center that are timed; all steps cost the same


def made_blocks(n: int, width: int, device: torch.device) -> Iterator[np.ndarray]:
    """Yields n float32 unit vectors in 2,000 topics of unequal size, with variances that decay, ROWS at a time."""
    random = torch.Generator(device).manual_seed(0)
    scales = torch.arange(1, width + 1, device=device) ** -0.3
    topics = torch.randn(2000, width, generator=random, device=device) * scales
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        topic = (2000 * torch.rand(stop - start, generator=random, device=device) ** 3).long()
        spread = 0.3 + 1.7 * torch.rand(stop - start, 1, generator=random, device=device)
        noise = torch.randn(stop - start, width, generator=random, device=device) * scales
        points = topics[topic] + spread * noise
        yield (points / points.norm(dim=1, keepdim=True)).cpu().numpy()


def made_points(n: int, width: int, device: torch.device) -> np.ndarray:
    """(n, width) float32, the vectors of `made_blocks`."""
    return np.concatenate(list(made_blocks(n, width, device)))


def naive_k_center(points: torch.Tensor, steps: int) -> None:
    """The plain loop on the device: all points meet one center after another."""
    nearest = torch.full((len(points),), torch.inf, device=points.device)
    best = 0
    for _ in range(steps):
        nearest = torch.minimum(nearest, torch.cdist(points, points[best : best + 1])[:, 0])
        best = int(nearest.argmax())


def naive_lloyd(points: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """One of Lloyd's iterations over all points, on the device."""
    total, counts = torch.zeros_like(centers), torch.zeros(len(centers), device=points.device)
    for block in points.split(ROWS):
        label = torch.cdist(block, centers).argmin(1)
        total.index_add_(0, label, block)
        counts += torch.bincount(label, minlength=len(centers))
    return total / counts.clamp_min(1)[:, None]


def k_center_line(roofline: Roofline, n: int, width: int, k: int) -> dict:
    """k_center against the plain loop on the same device."""
    points, device = made_points(n, width, roofline.device), roofline.device
    k_center(points[:5000], 20, device=device.type)
    ours = seconds(lambda: k_center(points, k, device=device.type), device)
    there = torch.from_numpy(points).to(device)
    naive_k_center(there, 2)
    naive = seconds(lambda: naive_k_center(there, STEPS), device) * k / STEPS
    least = roofline.seconds(float32=2 * n * width * k, memory=points.nbytes)
    return line(roofline, "k_center", n, ours, naive, least, width=width, k=k)


def kmeans_line(roofline: Roofline, n: int, width: int, k: int) -> dict:
    """kmeans, 11 iterations of which 8 may be on a sample, against 11 on all points on the same device."""
    points, device = made_points(n, width, roofline.device), roofline.device
    kmeans(points[:5000], 20, seed=0, device=device.type)
    ours = seconds(lambda: kmeans(points, k, seed=0, device=device.type), device)
    there = torch.from_numpy(points).to(device)
    naive_lloyd(there[:5000], there[:20])
    naive = seconds(lambda: naive_lloyd(there, there[:k]), device) * 11
    share = min(1, max(1 / SHARE, SAMPLE / n, EACH * k / n))
    passes = 8 * share + 3 + 1  # the last one gives the labels
    least = roofline.seconds(float32=2 * n * width * k * passes, memory=points.nbytes * passes)
    return line(roofline, "kmeans", n, ours, naive, least, width=width, k=k)
