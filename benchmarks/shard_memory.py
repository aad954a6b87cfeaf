"""How much memory does one shard of a reduce take, and how does it grow with the rows?

    python -m benchmarks.shard_memory [--rows 500000 1000000 2000000] [--dimensions 384]

Writes vectors in half precision to a store, and merges their parts as a map does. Then a process by itself per kernel
and number of rows reads them as a shard does, and answers the driver function. k-center picks 200 and k-means finds 100
centroids in one thread: more picks take time, and 3 kB each. Prints a JSON line each with the peaks of the process in
MiB, once after the read and once at the end, and CPU seconds; then a line per kernel with the bytes per row, by least
squares, and the rows that a process of 6 GiB holds.
"""

import resource
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks._made import write_vectors
from benchmarks._run import alone, options, printed
from jobs.engine.execute.rows import Stored, read
from jobs.engine.store.feature import Feature
from jobs.engine.store.merging import settled
from operators.kernels.k_center import k_center
from operators.kernels.kmeans import kmeans
from operators.kernels.sharding import here, sharding

PART = 16_384
KERNELS = {"k_center": (k_center, {"k": 200}), "kmeans": (kmeans, {"k": 100, "seed": 0})}
LIMIT = 6 << 30


def fill(feature: Feature, rows: int, width: int) -> None:
    """Writes so many unit vectors, which lie near a surface of 16 dimensions."""
    random = np.random.default_rng(0)
    directions = random.standard_normal((16, width)).astype(np.float32) / 64
    for first in range(0, rows, PART):
        made = np.cos(random.integers(0, 256, (min(PART, rows - first), 16)).astype(np.float32) @ directions)
        write_vectors(feature, first, made / np.linalg.norm(made, axis=1, keepdims=True))
    settled(feature, rows)


def peak() -> int:
    """The largest memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def measured(name: str, rows: int, folder: str) -> dict[str, Any]:
    """Holds a shard in this process and runs the kernel on it; returns its line."""
    import torch

    torch.set_num_threads(1)
    kernel, params = KERNELS[name]
    declared = sharding(kernel)
    assert declared is not None
    began = time.process_time()
    vectors = read(Stored(Feature(folder), "", np.arange(rows)))
    after, loaded = time.process_time(), peak()
    shard = declared.shard(vectors)
    del vectors
    declared.driver(here(shard), **params)
    return {
        "benchmark": "shard_memory",
        "kernel": name,
        "rows": rows,
        "read_peak_mib": loaded,
        "peak_mib": peak(),
        "read_cpu_seconds": round(after - began, 1),
        "kernel_cpu_seconds": round(time.process_time() - after, 1),
    }


def main() -> None:
    parser = options(__doc__, rows=[500_000, 1_000_000, 2_000_000], dimensions=384)
    parser.add_argument("--hold", nargs=3, metavar=("KERNEL", "ROWS", "FOLDER"), help="measure in this process")
    given = parser.parse_args()
    if given.hold:
        name, rows, folder = given.hold
        printed(measured(name, int(rows), folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        fill(Feature(folder), max(given.rows), given.dimensions)
        for name in KERNELS:
            lines = []
            for rows in given.rows:
                lines.append(alone("shard_memory", "--hold", name, rows, folder))
                printed(lines[-1])
            if len(lines) > 1:
                peaks = [line["peak_mib"] << 20 for line in lines]
                slope, base = np.polyfit([line["rows"] for line in lines], peaks, 1)
                held = int((LIMIT - base) / slope)
                of = {"benchmark": "shard_memory", "kernel": name}
                printed({**of, "bytes_a_row": round(slope), "rows_in_6_gib": held})


if __name__ == "__main__":
    main()
