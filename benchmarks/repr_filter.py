"""How much faster is repr_filter than a walk one row at a time, and does it keep the same rows?

    python -m benchmarks.repr_filter [--n 3000 6000] [--vectors embeddings.npy]

The reference does in each step what DEITA's released filter does with its default batch size of one. It gathers the
embeddings kept so far (float64, as its data frame has them), casts them to float32, normalises both sides, and compares
one matrix-vector product with the threshold. Both sides run in this process, in turns, on the same threads: the
reference once for all its rows, and ours `--repeats` times in between. Times are CPU seconds, because wall time depends
on other processes: `ratio` is the reference's over the median of ours. `identical`: whether both keep the same rows.

Without --vectors the points are generated to resemble text embeddings (see `benchmarks.k_center`). Then an eighth of
the rows is replaced by rewordings of others, whose cosines to them are spread around the threshold. A fifth of all rows
is dropped.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks._run import busy, options, printed
from benchmarks.k_center import seconds, text_like
from operators.kernels.repr_filter import repr_filter


def reworded(n: int, width: int, seed: int = 0) -> np.ndarray:
    """(n, width) float32 unit vectors with rewordings, as the module's docstring describes."""
    points = text_like(n, width, seed)
    random = np.random.default_rng(seed + 1)
    said, again = random.choice(n, (2, n // 8), replace=False)
    changes = random.normal(size=(n // 8, width)) / np.sqrt(width) * random.uniform(0, 0.6, (n // 8, 1))
    points[again] = points[said] + changes
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def steps(embeddings: np.ndarray, threshold: float) -> Iterator[list[int]]:
    """The reference, one row at a time; yields the rows kept so far."""
    kept = [0]
    yield kept
    for row in range(1, len(embeddings)):
        some = torch.tensor(embeddings[kept], dtype=torch.float32)
        one = torch.tensor(embeddings[row], dtype=torch.float32)
        some = some / some.norm(dim=1, keepdim=True)
        if not (some @ (one / one.norm()) > threshold).any():
            kept.append(row)
        yield kept


def compare(points: np.ndarray, threshold: float, repeats: int) -> dict[str, object]:
    """The result line: both sides' times, their ratio, and whether they keep the same rows."""
    found = repr_filter(points, None, threshold)
    ours, reference, kept, walked = [], [], [], 0
    walk = steps(points.astype(np.float64), threshold)
    for turn in range(repeats):
        ours.append(seconds(lambda: repr_filter(points, None, threshold)))
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range((turn + 1) * len(points) // repeats - walked):
            kept = next(walk)
            walked += 1
        reference.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = np.median(ours, axis=0)
    reference_cpu, reference_wall = np.sum(reference, axis=0)
    return {
        "benchmark": "repr_filter",
        "n": len(points),
        "d": points.shape[1],
        "threshold": threshold,
        "kept": len(found.kept),
        **busy(),
        "reference_seconds": round(reference_cpu, 3),
        "ours_seconds": round(cpu, 4),
        "ratio": round(reference_cpu / cpu, 1),
        "wall_ratio": round(reference_wall / wall, 1),
        "identical": found.kept.tolist() == kept,
    }


def main() -> None:
    parser = options(__doc__, n=[3000, 6000], d=384, threshold=0.9, threads=1, repeats=5)
    parser.add_argument("--vectors", help="an .npy file of (n, d) float32 embeddings instead of generated ones")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for n in given.n:
        points = np.load(given.vectors)[:n] if given.vectors else reworded(n, given.d)
        printed(compare(points, given.threshold, given.repeats))


if __name__ == "__main__":
    main()
