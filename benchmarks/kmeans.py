"""How does kmeans compare with faiss and with sklearn's MiniBatchKMeans, in time and in inertia?

    python -m benchmarks.kmeans [--k 228] [--vectors embeddings.npy]

faiss runs 10 iterations on all points and then labels them, because kmeans returns labels and distances. `pairs` has
the seconds and the inertia of both sides for several numbers of iterations, all of faiss's with labels, and
`faiss_inertia_at_our_time` is what faiss reaches in the time of our default, between its own pairs.
MiniBatchKMeans runs with its own defaults from random points. Each side runs once per seed, in turns, in this process
and on the same threads. Times are CPU seconds, medians over the seeds. `ratio_train` is ours over faiss without
labelling, and `ratio` is ours over faiss with it. `benchmarks.k_center` describes the generated points.
"""

import time
from collections.abc import Callable
from functools import partial

import faiss
import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from benchmarks._run import busy, cpu_seconds, options, printed
from benchmarks.k_center import text_like
from operators.kernels.kmeans import kmeans

Run = tuple[float, float, float]
FAISS, OURS = (3, 5, 7), (7, 19)
"""Further numbers of iterations of both sides."""


def faiss_run(points: np.ndarray, k: int, seed: int, iterations: int = 10) -> Run:
    """CPU seconds of training, of training and labelling, and the inertia."""
    begin = time.process_time()
    clustering = faiss.Kmeans(points.shape[1], k, niter=iterations, seed=seed + 1, max_points_per_centroid=len(points))
    clustering.train(points)
    trained = time.process_time() - begin
    squared, _ = clustering.index.search(points, 1)
    return trained, time.process_time() - begin, float(squared.sum(dtype=np.float64))


def ours_run(points: np.ndarray, k: int, seed: int, iterations: int = 11) -> Run:
    """CPU seconds, twice, and the inertia."""
    taken, found = cpu_seconds(lambda: kmeans(points, k, seed=seed, iterations=iterations))
    return taken, taken, found.inertia


def minibatch_run(points: np.ndarray, k: int, seed: int) -> Run:
    """CPU seconds, twice, and the inertia."""
    made = MiniBatchKMeans(k, init="random", n_init=1, random_state=seed)  # pyright: ignore[reportArgumentType]
    taken, found = cpu_seconds(lambda: made.fit(points))
    return taken, taken, float(found.inertia_)


def compare(points: np.ndarray, k: int, seeds: int) -> dict[str, object]:
    """The result line: median times and inertias per point, and the ratios to faiss."""
    contenders: dict[str, Callable[[np.ndarray, int, int], Run]] = {
        "faiss": faiss_run,
        "ours": ours_run,
        "minibatch": minibatch_run,
        **{f"faiss {turns}": partial(faiss_run, iterations=turns) for turns in FAISS},
        **{f"ours {turns}": partial(ours_run, iterations=turns) for turns in OURS},
    }
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for seed in range(seeds):
        for name, run in contenders.items():
            runs[name].append(run(points, k, seed))
    middle = {name: np.median(some, axis=0) for name, some in runs.items()}
    at = np.array([[time_taken, inertia] for name, (_, time_taken, inertia) in middle.items() if "faiss" in name])
    at = at[at[:, 0].argsort()]
    faiss_then = float(np.interp(middle["ours"][1], *at.T))
    return {
        "benchmark": "kmeans",
        "n": len(points),
        "d": points.shape[1],
        "k": k,
        **busy(),
        "pairs": {
            name: (round(float(found[1]), 3), round(float(found[2]) / len(points), 5)) for name, found in middle.items()
        },
        "faiss_inertia_at_our_time": round(faiss_then / len(points), 5),
        "inertia_over_faiss_at_our_time": round(float(middle["ours"][2]) / faiss_then, 4),
        "ratio_train": round(float(middle["ours"][0] / middle["faiss"][0]), 2),
        "ratio": round(float(middle["ours"][1] / middle["faiss"][1]), 2),
        "inertia_over_faiss": round(float(middle["ours"][2] / middle["faiss"][2]), 4),
        "minibatch_inertia_over_faiss": round(float(middle["minibatch"][2] / middle["faiss"][2]), 4),
    }


def main() -> None:
    parser = options(__doc__, n=52_000, d=384, k=228, threads=1, seeds=5)
    parser.add_argument("--vectors", help="an .npy file of (n, d) float32 embeddings instead of generated ones")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    faiss.omp_set_num_threads(given.threads)
    points = np.load(given.vectors)[: given.n] if given.vectors else text_like(given.n, given.d)
    printed(compare(points, given.k, given.seeds))


if __name__ == "__main__":
    main()
