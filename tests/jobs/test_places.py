"""Whole commands whose inputs, store and output are at URLs: killed, resumed, and refused."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from jobs import explain
from jobs.engine.store.folder import Folder
from tests.jobs.corpora import jsonl, records

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def driver(tmp_path, ray_session):
    """Starts a command in a process of its own that joins the tests' Ray: driver("curate", "ltd", ...)."""
    started = []

    def start(command, *words):
        env = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", f"jobs.{command}", *map(str, words)]
        process = subprocess.Popen(
            words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for_parts(store: Folder, count: int, process: subprocess.Popen) -> None:
    """Returns when the store has so many parts of features, while the process runs."""
    deadline = time.monotonic() + 120
    while len(store.matching("features/*/*/part-*.parquet")) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_main_job_at_urls_is_preempted_killed_and_goes_on_to_the_same_selection(run, driver, s3, tmp_path):
    place = Folder.at(s3.bucket())
    jsonl(tmp_path / "in.jsonl", [*records(400), records(1)[0]])
    place.write("raw/in.jsonl", (tmp_path / "in.jsonl").read_bytes() + b"{broken\n")
    (tmp_path / "p.yaml").write_text("default: {workers: 1, rows: 4}")
    store, out = place.inner("store"), place.inner("out")
    words = ["longest", f"{place}/raw", "--out", out, "--profile", "p.yaml", "budget=12"]

    process = driver("curate", *words, "--store", store)
    wait_for_parts(store, 1, process)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, time.monotonic() - began < 20) == (143, True), said
    assert "ended by SIGTERM; what is done is kept" in said
    assert "Traceback" not in said
    assert not store.exists("lock.json")

    process = driver("curate", *words, "--store", store)
    wait_for_parts(store, len(store.matching("features/*/*/part-*.parquet")) + 5, process)
    process.kill()
    process.wait()
    assert store.exists("lock.json")

    code, said = run(*words, store=store)
    assert code == 0, said
    assert "took over the lock" in said
    assert "12 kept, 388 dropped, 1 duplicate, 1 quarantined" in said
    stored = int(said.partition(" in the store")[0].rpartition(" ")[2])
    assert 20 <= stored < 400
    code, _ = run("longest", tmp_path / "in.jsonl", "--out", "here", "--profile", "p.yaml", "budget=12", store="own")
    assert code == 0
    assert out.content("selected.jsonl") == (tmp_path / "here/selected.jsonl").read_bytes()
    assert set(out.names()) == {path.name for path in (tmp_path / "here").iterdir()}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("s3")]

    code, said = run(*words, store=store)
    assert (code, "holds this very run" in said) == (0, True)
    code, said = run("longest", f"{place}/raw", "--out", out, "budget=13", store=store)
    assert (code, "out holds another run (budget '12' there, '13' now)" in said) == (2, True)
    code, said = run("--config", f"{out}/manifest.yaml", "--out", place.inner("again"), store=store)
    assert code == 0, said
    assert place.content("again/selected.jsonl") == out.content("selected.jsonl")
    _, said = run(out, "0", command=explain)
    assert "kept by longest" in said or "dropped by longest" in said
    assert "repeated  at" in said
