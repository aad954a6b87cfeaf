"""What every test shares: the environment Ray wants, one Ray session, and small pools."""

import json
import os
import shutil
import tempfile
from contextlib import nullcontext

# Before Ray is imported anywhere: no token, no telemetry, no second priority class, one thread a worker. Where there
# are several threads, one that waits sleeps: it would spin on a core that another test process needs, which is 20 times
# the CPU seconds for a small training.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_AUTO_CONNECT="0",  # a test that needs Ray asks for it, and does not join what else runs here
    RAY_worker_niceness="0",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    RAY_health_check_initial_delay_ms="1000",  # a node that does not answer five times in a row is dead
    RAY_health_check_period_ms="500",
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",
    HF_HUB_OFFLINE="1",
    TORCHDYNAMO_DISABLE="1",
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_KVCACHE_SPACE="1",
)
os.environ.pop("RAY_ADDRESS", None)

from tests import reliability
from tests import s3 as s3_server
from tests.reliability import pytest_configure  # noqa: F401 - a hook

os.environ.update(s3_server.environment())

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session
from jobs.engine.ingest.parts import Shares, fingerprints
from jobs.engine.pool.pool import Pool
from jobs.engine.store.store import Store
from operators.sample import SAMPLE, text_sha
from tests.warm_workers import warm


def pytest_addoption(parser):
    reliability.pytest_addoption(parser)
    parser.addoption("--cold-workers", action="store_true", help="start each of Ray's workers from nothing")


@pytest.fixture(autouse=True)
def gpus_in_sight():
    """What runs as in a worker, but here, hides the GPUs; later tests, and the nodes that they start, see them."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    yield
    os.environ.pop(name, None)
    if before is not None:
        os.environ[name] = before


@pytest.fixture(scope="session")
def ray_session(request):
    """One Ray for all tests, with more logical CPUs than cores so that small pipelines overlap."""
    folder = tempfile.mkdtemp(prefix="wn", dir="/tmp")
    with nullcontext({}) if request.config.getoption("--cold-workers") else warm(folder) as environment:
        started(folder, environment)
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def started(folder: str, environment: dict) -> None:
    """Starts Ray, with its files in the folder and its workers in the runtime environment."""
    for attempt in range(3):
        try:
            ray.init(
                address="local",
                num_cpus=4,
                include_dashboard=False,
                object_store_memory=512 * 2**20,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env=environment,
                _temp_dir=folder,
            )
            return
        except Exception:
            ray.shutdown()
            if attempt == 2:
                raise


@pytest.fixture(scope="session")
def s3():
    """An S3 server, which the workers of `ray_session` find too."""
    with s3_server.served() as server:
        yield server


@pytest.fixture
def session(tmp_path):
    """A session over a fresh store, with small batches so that maps have several parts."""
    return Session(Store(str(tmp_path / "store")), Profile(default=Execution(rows=16, workers=2)))


def write_pool(folder, texts, rows=40) -> str:
    """A pool folder of these instructions (the response is the text again, upper case), in parts of so many rows."""
    folder.mkdir(parents=True)
    parts, shares = [], []
    for first in range(0, len(texts), rows):
        block = texts[first : first + rows]
        messages = [
            [{"role": "user", "content": text}, {"role": "assistant", "content": text.upper()}] for text in block
        ]
        shas = [text_sha(each) for each in messages]
        table = pa.table(
            {
                "id": range(first, first + len(block)),
                "sha": shas,  # all that the records have beside the messages follows from these
                "text_sha": shas,
                "source": ["made.jsonl"] * len(block),
                "line": range(first + 1, first + 1 + len(block)),
                "messages": messages,
                "raw": [json.dumps({"instruction": text, "task": text.split()[0]}).encode() for text in block],
                "rejected": [None] * len(block),
                "label": [None] * len(block),
            },
            schema=SAMPLE,
        )
        pq.write_table(table, folder / f"part-{first:05d}.parquet", row_group_size=16)
        shares.append(Shares.of(first, table))
        parts.append({"file": f"part-{first:05d}.parquet", "first": first, "rows": len(block)})
    pq.write_table(
        pa.table(
            {"source": [], "line": [], "id": []},
            schema=pa.schema([("source", pa.string()), ("line", pa.int64()), ("id", pa.int64())]),
        ),
        folder / "duplicates.parquet",
    )
    (folder / "quarantine.jsonl").write_text("")
    facts = {
        "winnow_pool": 1,
        **fingerprints(len(texts), shares),
        "samples": len(texts),
        "records": len(texts),
        "duplicates": 0,
        "quarantined": 0,
        "parts": parts,
        "sources": [],
        "examples": {},
    }
    (folder / "pool.json").write_text(json.dumps(facts))
    return str(folder)


@pytest.fixture
def make_pool(tmp_path, session):
    """Builds a pool of texts in the session's store: make_pool(["a b", ...])."""
    made = iter(range(1000))

    def make(texts, rows=40):
        return Pool.open(write_pool(tmp_path / f"pool{next(made)}", list(texts), rows), session)

    return make


@pytest.fixture
def fruits():
    """Ten near-identical recipes in two dimensions and one poem far away."""
    rng = np.random.default_rng(0)
    return np.vstack([np.array([1.0, 0.0]) + 0.01 * rng.standard_normal((10, 2)), [[0.0, 1.0]]])
