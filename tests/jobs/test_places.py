"""Whole commands whose inputs, store and output are at URLs: killed, resumed, and refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from jobs import curate, evaluate, evolve, explain, finetune, ingest, train_scorer
from jobs.engine.store.folder import Folder
from operators import remote
from operators.checkpoint import Checkpoint
from tests.jobs.corpora import jsonl, records
from tests.tiny import tiny_causal

COMMANDS = {
    curate: ["at_random", "in.jsonl"],
    finetune: ["in.jsonl", "base.name=model"],
    evaluate: ["model", "in.jsonl"],
    evolve: ["complexity", "in.jsonl", "rewriter.model.name=model", "judge.model.name=model"],
    train_scorer: ["in.jsonl", "finetune.base.name=model"],
    ingest: ["in.jsonl"],
}
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
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.fault(
    "the driver is killed",
    how="SIGTERM, then SIGKILL, of `curate` on a running cluster, with store and output on S3",
    holds="exit code 143 within 20 s; the lock is taken over; the selection has the bytes of an unharmed run",
)
def test_the_main_job_at_urls_is_preempted_killed_and_goes_on_to_the_same_selection(run, driver, s3, tmp_path):
    place = Folder.at(s3.bucket())
    jsonl(tmp_path / "in.jsonl", [*records(200), records(1)[0]])
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
    assert "12 kept, 188 dropped, 1 duplicate, 1 quarantined" in said
    stored = int(said.partition(" in the store")[0].rpartition(" ")[2])
    assert 20 <= stored < 200
    code, _ = run("longest", tmp_path / "in.jsonl", "--out", "here", "--profile", "p.yaml", "budget=12", store="own")
    assert code == 0
    assert out.content("selected.jsonl") == (tmp_path / "here/selected.jsonl").read_bytes()
    assert set(out.names()) == {path.name for path in (tmp_path / "here").iterdir()}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("s3")]

    code, said = run(*words, store=store)
    assert (code, "holds this very run" in said) == (0, True)
    code, said = run(f"{place}/raw", "--out", place.inner("pool"), command=ingest)
    assert (code, f"200 samples of 202 records are in {place}/pool" in said) == (0, True), said
    code, said = run("longest", place.inner("pool"), "--out", place.inner("of_pool"), "budget=12", store=store)
    assert (code, "200 in the store, 0 to compute" in said) == (0, True), said
    assert place.content("of_pool/selected.jsonl") == out.content("selected.jsonl")
    code, said = run("longest", f"{place}/raw", "--out", out, "budget=13", store=store)
    assert (code, "out holds another run (budget '12' there, '13' now)" in said) == (2, True)
    code, said = run("--config", f"{out}/manifest.yaml", "--out", place.inner("again"), store=store)
    assert code == 0, said
    assert place.content("again/selected.jsonl") == out.content("selected.jsonl")
    _, said = run(out, "0", command=explain)
    assert "kept by longest" in said or "dropped by longest" in said
    assert "repeated  at" in said


def test_training_and_its_evaluation_at_urls(run, ray_session, s3, tmp_path, monkeypatch):
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    place = Folder.at(s3.bucket())
    base = tiny_causal(tmp_path / "base")
    remote.put(Path(base), f"{place}/base")
    jsonl(tmp_path / "in.jsonl", records(16))
    fields = [f"base.name={place}/base", "template=alpaca", "epochs=1", "batch=4", "max_tokens=200",
              "precision=float32", "warmup=0", "--store", place.inner("store")]  # fmt: skip
    code, said = run("in.jsonl", "--out", place.inner("model"), *fields, command=finetune)
    assert code == 0, said
    assert f"{place}/model holds the model after epoch 1" in said
    assert place.exists("model/manifest.yaml")
    code, said = run(
        f"{place}/model", "in.jsonl", "--store", place.inner("store"), "--out", f"{place}/facts/loss.json",
        "precision=float32", command=evaluate,
    )  # fmt: skip
    assert code == 0, said
    assert "template alpaca, 200 tokens; 0 without a loss" in said
    assert json.loads(place.content("facts/loss.json"))["overall"]["samples"] == 16

    pairs = [{"instruction": f"goats {number}", "score": 1 + number % 6} for number in range(12)]
    place.write("pairs.jsonl", "".join(json.dumps(pair) + "\n" for pair in pairs).encode())
    fields = [f"finetune.{field}" for field in fields[:-2] if not field.startswith("template")]
    code, said = run(
        f"{place}/pairs.jsonl", "--out", place.inner("scorer"), *fields, "finetune.lora.rank=2",
        "--store", place.inner("store"), command=train_scorer,
    )  # fmt: skip
    assert code == 0, said
    scorer = Checkpoint(f"{place}/scorer")
    assert json.loads(scorer.file("scorer.json").read_text())["labels"] == [*"123456"]
    assert {"model.safetensors", "scorer.json"} < {path.name for path in scorer.folder().iterdir()}


@pytest.mark.fault(
    "a place on an object store refuses",
    how="S3's token expires while a map runs",
    holds="one line; the next run computes what is missing",
)
def test_a_token_that_expires_while_a_run_computes_is_one_line_and_the_run_goes_on(run, ray_session, s3, tmp_path):
    place = Folder.at(s3.bucket())
    jsonl(tmp_path / "in.jsonl", records(60))
    (tmp_path / "p.yaml").write_text("default: {workers: 1, rows: 4}")
    words = ["longest", "in.jsonl", "--out", place.inner("out"), "--profile", "p.yaml", "budget=6"]
    parts = []

    def expired(method: str, path: str) -> str | None:
        if method == "PUT" and "/part-" in path and "/features/" in path:
            parts.append(path)
        return "ExpiredToken" if len(parts) > 3 else None

    with s3.failing(expired):
        code, said = run(*words, store=place.inner("store"))
    assert code == 1, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "token" in errors[0]
    assert "expired" in errors[0]
    assert "Traceback" not in said
    code, said = run(*words, store=place.inner("store"))
    assert code == 0, said
    assert int(said.partition(" in the store")[0].rpartition(" ")[2]) >= 12


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.rpartition(".")[2])
@pytest.mark.fault(
    "a place on an object store refuses",
    how="a bucket that may not be written to or read, and an expired token",
    holds="one line before Ray is started",
)
def test_a_url_that_cannot_be_written_to_or_read_is_refused_in_one_line_before_ray_starts(run, s3, tmp_path, command):
    jsonl(tmp_path / "in.jsonl", records(4))
    before = sorted(tmp_path.rglob("*"))
    url = s3.bucket()

    def told(fault, *words) -> str:
        with s3.failing(fault):
            code, said = run(*words, *(() if command in (curate, ingest) else ["--store", "never"]), command=command,
                             store="never")  # fmt: skip
        assert (code, sorted(tmp_path.rglob("*"))) == (2, before), said
        assert "starting Ray" not in said
        assert "Traceback" not in said
        assert all(line.startswith("error: ") for line in said.splitlines())
        return said

    words = COMMANDS[command]
    read_only = told(
        lambda method, _: "AccessDenied" if method in ("PUT", "POST") else None, *words, "--out", f"{url}/o"
    )
    assert f"--out {url}/o: nothing can be written there: Access Denied" in read_only
    expired = told(lambda *_: "ExpiredToken", *words, "--out", f"{url}/o")
    assert f"--out {url}/o: nothing can be written there: The provided token has expired" in expired
    gone = told(lambda *_: None, *words, "--out", "s3://no-such-bucket-here/o")
    assert "nothing can be written there: The specified bucket does not exist" in gone
    if command is not train_scorer:
        hidden = [word.replace("in.jsonl", f"{url}/in.jsonl") for word in words]
        unreadable = told(
            lambda method, _: "AccessDenied" if method in ("GET", "HEAD") else None, *hidden, "--out", "o"
        )
        assert f"{url}/in.jsonl: it cannot be looked at: Forbidden" in unreadable
    assert Folder.at(url).names() == []
