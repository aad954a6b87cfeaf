"""Does the driver stay small for any corpus? Ingests, maps and reduces generated samples, from start to end.

    python -m benchmarks.scale [--samples 300000] [--store FOLDER]

The operator is a stand-in that derives vectors of 64 dimensions from the samples' content hashes. Prints one JSON line:
seconds per verb, and the driver's peak memory, which must stay under 1 GiB.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass

from benchmarks._made import say_beside
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session, connect
from jobs.engine.pool.pool import Pool
from jobs.engine.store.store import Store
from operators.base import STRICT, Compute, Operator
from operators.kernels.k_center import k_center
from operators.kernels.kmeans import kmeans


@dataclass(frozen=True, config=STRICT)
class Hashed(Operator):
    """A unit vector derived from the sample's content hash."""

    dimensions: int = 64

    def load(self) -> Compute:
        """A function that expands each hash of a batch to a vector."""

        def vectors(batch):
            drawn = [
                np.random.default_rng(list(sha)).standard_normal(self.dimensions) for sha in batch["sha"].to_pylist()
            ]
            made = np.stack(drawn)
            return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)

        return vectors


def generate(path: Path, samples: int) -> None:
    """Writes `samples` records; every hundredth repeats the one before it."""
    with path.open("w") as file:
        for i in range(samples):
            serial = i - (i % 100 == 99)
            record = {
                "instruction": f"Question {serial}?",
                "input": "",
                "output": f"Answer {serial}. " * (1 + serial % 40),
            }
            file.write(json.dumps(record) + "\n")


def measured(folder: Path, samples: int) -> dict[str, object]:
    """The seconds per verb and the driver's peak memory."""
    generate(folder / "in.jsonl", samples)
    profile = Profile(default=Execution(rows=8192))
    session = Session(Store(str(folder / "store")), profile)
    say_beside()
    connect(profile)
    pool = Pool.of([str(folder / "in.jsonl")], session)
    hashed = pool.map(vector=Hashed())
    groups = hashed.reduce(kmeans, "vector", k=100, seed=0)
    cover = hashed.reduce(k_center, "vector", k=1000)
    began = time.monotonic()
    grouped = hashed.bind(centroid=groups.labels)
    pool.selection(cover.picks, because={"dropped": hashed}, details={"centroid": grouped.column("centroid")})
    seconds = {next(iter(verb.values())) if "read" not in verb else "read": verb["seconds"] for verb in session.log}
    return {
        "benchmark": "scale",
        "records": pool.facts["records"],
        "samples": pool.samples,
        "seconds": {**seconds, "select": round(time.monotonic() - began, 2)},
        "driver_peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Prints the JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=300_000)
    parser.add_argument("--store", type=Path, help="a folder to work in; a temporary one if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measured(given.store or Path(temporary), given.samples)))


if __name__ == "__main__":
    main()
