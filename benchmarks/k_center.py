"""How much faster is k_center than the loop of MoDS, and does it pick the same points?

    python -m benchmarks.k_center [--k 500 3000] [--vectors embeddings.npy]
    python -m benchmarks.k_center --samples 200000 --picks 10000 --shards 1,2,4

The second form asks whether the picks are the same over any number of shards. It writes made embeddings in half
precision to a store, and runs k_center on this machine's Ray over so many actors, each of which reads its own rows.
`rounds` counts every question to all shards, and `bytes_per_round` is what was sent and answered for one.

The reference is that loop. Each step computes `pairwise_distances` of all points to the new center, which recomputes
the norms and converts float32 to float64 in blocks, then a minimum and an argmax. Both sides run in this process, in
turns, on the same threads: the reference once for all its steps, and ours `--repeats` times in between. Times are CPU
seconds, because wall time depends on other processes: `ratio` is the reference's over the median of ours. `identical`
says whether every pick is that of the definition (float64 distances rounded to float32, ties to the lowest position).
The reference rounds squared distances instead, so it may decide a near tie differently. From there on the picks of the
two differ, and both are valid: `first_other_than_reference`.

Without --vectors the points are generated to resemble text embeddings. They are unit vectors of 384 dimensions with a
common direction of length 0.2, in 2,000 topics of very unequal size. The spread around a topic varies from point to
point, and variances decay over 300 dimensions. A fifth of the points are rewordings of others, from slight to loose,
and 3 % are exact duplicates. On 52,002 real sentences and answers (all-MiniLM-L6-v2 of Alpaca and Dolly), the median
nearest-neighbour cosine is .80, the median and 99th percentile over all pairs are .04 and .32, the participation ratio
of the variances is 130, and the radius at k = 10, 100, 500 is 1.41, 1.32, 1.25. The generated points have .80, .04,
.49, 80 and 1.40, 1.32, 1.27.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.metrics import pairwise_distances

from benchmarks._run import busy, options, printed
from operators.kernels.k_center import k_center


def text_like(n: int, width: int, seed: int = 0) -> np.ndarray:
    """(n, width) float32 unit vectors that resemble text embeddings, as the module's docstring describes."""
    random = np.random.default_rng(seed)
    shares = random.pareto(1.2, 2000) + 0.2
    topic = random.choice(2000, n, p=shares / shares.sum())
    basis, _ = np.linalg.qr(random.normal(size=(width, 300)))
    scales = np.arange(1, 301) ** -0.3
    topics = random.normal(size=(2000, 300)) * scales
    points = topics[topic] + random.normal(size=(n, 300)) * scales * random.uniform(0.3, 2, (n, 1))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    said, again = random.choice(n, (2, n // 5), replace=False)
    looseness = random.uniform(0.1, 0.9, (n // 5, 1)) * np.linalg.norm(scales) ** -1
    points[again] = points[said] + random.normal(size=(n // 5, 300)) * scales * looseness
    points[:, 150] += 0.2
    points = points @ basis.T
    twins = random.choice(n, (2, n * 3 // 100), replace=False)
    points[twins[0]] = points[twins[1]]
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def mods_steps(points: np.ndarray, k: int) -> Iterator[tuple[int, np.ndarray]]:
    """The reference, one pick at a time, with the distances to the nearest center."""
    nearest, best = np.full(len(points), np.inf, np.float32), 0
    for _ in range(k):
        to_center = pairwise_distances(points, points[best : best + 1], metric="euclidean")[:, 0]
        nearest = np.minimum(nearest, to_center)
        yield best, nearest
        best = int(nearest.argmax())


def first_wrong(points: np.ndarray, picks: np.ndarray) -> int | None:
    """The number of the first pick that differs from the definition; None where all picks agree with it."""
    exact = points.astype(np.float64)
    norms = np.square(exact).sum(axis=1)
    nearest = np.full(len(points), np.inf)
    for start in range(0, len(picks), 100):
        some = picks[start : start + 100]
        squared = norms[:, None] + norms[some] - 2 * exact @ exact[some].T
        for turn, pick in enumerate(some):
            may = np.flatnonzero(nearest >= nearest.max() * (1 - 1e-6))  # 1e-6: wider than float32's spacing
            if start + turn and may.tolist() != [pick]:
                before = exact[picks[: start + turn]]
                true = [np.float32(np.sqrt(np.square(before - exact[p]).sum(axis=1).min())) for p in may]
                if may[int(np.argmax(true))] != pick:
                    return start + turn
            nearest = np.minimum(nearest, squared[:, turn])
            nearest[pick] = -np.inf
    return None


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(points: np.ndarray, k: int, repeats: int) -> dict[str, object]:
    """The result line: both sides' times, their ratio, and whether the picks are the same."""
    k_center(points[:5000], 20)
    ours, reference, picks, nearest = [], [], [], np.empty(0)
    steps = mods_steps(points, k)
    for turn in range(repeats):
        ours.append(seconds(lambda: k_center(points, k)))
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range((turn + 1) * k // repeats - len(picks)):
            best, nearest = next(steps)
            picks.append(best)
        reference.append((time.process_time() - cpu, time.perf_counter() - wall))
    found = k_center(points, k)
    same, wrong = found.picks == np.array(picks), first_wrong(points, found.picks)
    cpu, wall = np.median(ours, axis=0)
    reference_cpu, reference_wall = np.sum(reference, axis=0)
    return {
        "benchmark": "k_center",
        "n": len(points),
        "d": points.shape[1],
        "k": k,
        **busy(),
        "reference_ms_per_center": round(1e3 * reference_cpu / k, 2),
        "ours_ms_per_center": round(1e3 * cpu / k, 3),
        "ratio": round(reference_cpu / cpu, 1),
        "wall_ratio": round(reference_wall / wall, 1),
        "identical": wrong is None,
        "first_wrong": wrong,
        "same_as_reference": bool(same.all()),
        "first_other_than_reference": None if same.all() else int(same.argmin()),
        "radius": found.radius,
        "reference_radius": float(nearest.max()),
    }


def main() -> None:
    parser = options(__doc__, n=52_000, d=384, k=[500, 3000], threads=1, repeats=5)
    parser.add_argument("--vectors", help="an .npy file of (n, d) float32 embeddings instead of generated ones")
    parser.add_argument("--samples", type=int, default=200_000, help="with --shards: the number of points")
    parser.add_argument("--picks", type=int, default=10_000, help="with --shards: the number of picks")
    parser.add_argument("--shards", help="numbers of shards, as 1,2,4")
    given = parser.parse_args()
    if given.shards:
        from benchmarks._shards import lines

        for line in lines(given.samples, given.d, given.picks, [int(each) for each in given.shards.split(",")]):
            printed(line)
        return
    torch.set_num_threads(given.threads)
    points = np.load(given.vectors)[: given.n] if given.vectors else text_like(given.n, given.d)
    for k in given.k:
        printed(compare(points, k, given.repeats))


if __name__ == "__main__":
    main()
