"""Tasks that are stopped: `pytest tests/jobs/engine/ingest/test_tasks.py`."""

import os
import subprocess
import sys
from pathlib import Path

import ray

ROOT = Path(__file__).resolve().parents[4]
STOPPED_AT_ONCE = """
import ray
from jobs.engine.ingest.tasks import Tasks, fetched

def twice(number):
    return 2 * number

ray.init()
for number in range(40):
    tasks = Tasks(1, print)
    running = tasks.started(twice, -number)
    assert fetched(tasks.started(twice, number)) == 2 * number
    tasks.stop()
"""


def test_tasks_that_complete_while_they_are_stopped_do_not_end_the_driver(ray_session):
    """Ray 2.60 aborts a driver that cancels a task whose result has just come."""
    env = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_ONCE], cwd=ROOT, env=env, timeout=200, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
