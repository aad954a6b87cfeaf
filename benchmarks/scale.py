"""How do time and memory grow with the pool? A selection from start to end, over generated samples of several sizes.

    python -m benchmarks.scale [--samples 100000 300000 1000000] [--dimensions 384] [--budget 10000] [--profile FILE]

It is the walk of `curate ltd`: read, map, k-means, k-center, select, write. The operator is a stand-in that makes
vectors from the samples' content hashes, so that the numbers are those of the engine. Every size runs in a process by
itself. Prints a JSON line per size: per verb the seconds, the CPU seconds of the driver, the peaks of the driver and of
the largest other process (a worker, or one of Ray's own) in MiB (without shared memory), and the MiB that it added to
the disk; for reduces also shards, rounds and the bytes between the processes. `driver_mib` is the peak of the driver,
and `largest_mib` that of the largest of all processes, at any time. Then a line with the exponents of n in the seconds,
by least squares, and how many bytes the driver's peak grows by per sample. Exponents are of use where n is large enough
to hide the start. A profile with `reduce_bytes` makes the reduces run over shards.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pydantic.dataclasses import dataclass

from benchmarks._made import say_beside
from benchmarks._run import alone, exponent, options, printed
from jobs.engine.execute.profile import profile
from jobs.engine.execute.session import Session, connect
from jobs.engine.outcome.outcome import desk, written
from jobs.engine.pool.pool import Pool
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from operators.base import STRICT, Compute, Operator
from operators.kernels.k_center import k_center
from operators.kernels.kmeans import kmeans

CENTROIDS = 100
MIB = 1 << 20
EVERY = 0.1
"""Seconds between two looks at the processes."""


@dataclass(frozen=True, config=STRICT)
class Hashed(Operator):
    """A unit vector derived from the sample's content hash: cosines of random directions, in one matrix product."""

    dimensions: int = 384

    def load(self) -> Compute:
        """A function that expands the hashes of a batch to vectors, (rows, dimensions) float16."""
        directions = np.random.default_rng(0).standard_normal((16, self.dimensions)).astype(np.float32) / 64

        def vectors(batch):
            hashes = np.frombuffer(b"".join(batch["sha"].to_pylist()), np.uint8).reshape(-1, 16)
            made = np.cos(hashes.astype(np.float32) @ directions)
            return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)

        return vectors


class Watch:
    """Measures each verb while it runs."""

    def __init__(self, folder: Path, log: list[dict[str, Any]]):
        self.folder, self.log = folder, log
        self.verbs: dict[str, dict[str, Any]] = {}
        self.driver, self.worker = psutil.Process(), 0
        self.peak = 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, private(self.driver))
            for child in self.driver.children(recursive=True):
                try:
                    self.worker = max(self.worker, private(child))
                except psutil.NoSuchProcess:
                    continue
            time.sleep(EVERY)

    @contextmanager
    def verb(self, name: str) -> Iterator[None]:
        """Measures the block, as the verb of this name."""
        self.peak = self.worker = 0
        entries, held = len(self.log), size(self.folder)
        began, computed = time.monotonic(), time.process_time()
        yield
        self.verbs[name] = {
            "seconds": round(time.monotonic() - began, 2),
            "driver_cpu_seconds": round(time.process_time() - computed, 2),
            "driver_peak_mib": max(self.peak, private(self.driver)) // MIB,
            "worker_peak_mib": self.worker // MIB,
            "added_mib": round((size(self.folder) - held) / MIB, 1),
        }
        for entry in self.log[entries:]:
            self.verbs[name] |= {key: entry[key] for key in ("shards", "rounds", "bytes") if key in entry}


def private(process: psutil.Process) -> int:
    """The memory of a process in bytes, without what it shares with others, such as Ray's object store."""
    held = process.memory_info()
    return held.rss - held.shared


def size(folder: Path) -> int:
    """The bytes of the files in a folder, at all depths."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def generate(path: Path, samples: int) -> None:
    """Writes `samples` records; every hundredth repeats the one before it."""
    with path.open("w") as file:
        for i in range(samples):
            serial = i - (i % 100 == 99)
            answer = f"Answer {serial}. " * (1 + serial % 10)
            file.write(f'{{"instruction": "Question {serial}?", "input": "", "output": "{answer}"}}\n')


def measured(folder: Path, samples: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Runs one size in this process; returns its line."""
    generate(folder / "in.jsonl", samples)
    chosen = profile(asked.profile)
    session = Session(Store(str(folder / "store")), chosen)
    say_beside()
    connect(chosen)
    watch = Watch(folder, session.log)
    with watch.verb("read"):
        pool = Pool.of([str(folder / "in.jsonl")], session)
    with watch.verb("map"):
        hashed = pool.map(vector=Hashed(asked.dimensions))
    with watch.verb("map again"):
        hashed = pool.map(vector=Hashed(asked.dimensions))
    with watch.verb("kmeans"):
        groups = hashed.reduce(kmeans, "vector", k=CENTROIDS, seed=0)
    grouped = hashed.bind(centroid=groups.labels, distance=groups.distances)
    with watch.verb("k_center"):
        cover = grouped.reduce(k_center, "vector", k=min(asked.budget, samples // 10))
    with watch.verb("select"):
        kept = cover.picks.bind(gap=cover.distances)
        selection = pool.selection(
            kept,
            score=kept.having("gap").column("gap"),
            because={"close to a kept sample": grouped, "farthest from all kept before it": kept},
            details={name: grouped.column(name) for name in ("centroid", "distance")},
            vector="vector",
        )
    with watch.verb("write"), desk(Folder.at(folder / "out"), session) as at:
        outcome = written(selection, pool, {}, at)
    driver, worker = (
        max(each[peak] for each in watch.verbs.values()) for peak in ("driver_peak_mib", "worker_peak_mib")
    )
    return {
        "benchmark": "scale",
        "records": pool.facts["records"],
        "samples": pool.samples,
        "seconds": round(sum(each["seconds"] for each in watch.verbs.values()), 1),
        "driver_mib": driver,
        "largest_mib": max(driver, worker),
        "counts": dict(outcome.counts),
        "parts": len(hashed.columns["vector"].stored().parts()),
        "verbs": watch.verbs,
    }


def growth(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The exponents of n in the seconds of each verb, and how much the driver's peak grows per sample."""
    n = np.array([line["samples"] for line in lines], float)

    def of(verb: str, what: str) -> np.ndarray:
        return np.array([line["verbs"][verb][what] for line in lines], float)

    verbs = lines[0]["verbs"]
    peaks = np.array([line["driver_mib"] for line in lines], float)
    return {
        "benchmark": "scale",
        "exponents": {verb: exponent(n, of(verb, "seconds")) for verb in verbs},
        "exponents_of_driver_cpu": {verb: exponent(n, of(verb, "driver_cpu_seconds")) for verb in verbs},
        "driver_bytes_a_sample": round(float(np.polyfit(n, peaks * MIB, 1)[0]), 1),
        "driver_bytes_a_sample_by_verb": {
            verb: round(float(np.polyfit(n, of(verb, "driver_peak_mib") * MIB, 1)[0]), 1) for verb in verbs
        },
    }


def main() -> None:
    parser = options(__doc__, samples=[100_000, 300_000, 1_000_000], dimensions=384, budget=10_000)
    parser.add_argument("--profile", help="a profile, as of `curate`")
    parser.add_argument("--store", type=Path, help="a folder to work in; a temporary one if not given")
    given = parser.parse_args()
    if len(given.samples) == 1:
        with tempfile.TemporaryDirectory(dir=given.store) as temporary:
            printed(measured(Path(temporary), given.samples[0], given))
        return
    lines = []
    for samples in given.samples:
        lines.append(alone("scale", "--samples", samples, *_options(given)))
        printed(lines[-1])
    printed(growth(lines))


def _options(given: argparse.Namespace) -> Iterator[str]:
    """The options of one size, as the command line has them."""
    for name in ("dimensions", "budget", "profile", "store"):
        if (value := getattr(given, name)) is not None:
            yield from (f"--{name}", str(value))


if __name__ == "__main__":
    main()
