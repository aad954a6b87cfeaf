"""cluster/slurm.sh, with stand-ins for the programs of Slurm, Ray and Python that write down how they are called."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "cluster" / "slurm.sh"
LOG = 'echo "$(basename "$0") $* RAY_ADDRESS=$RAY_ADDRESS" >>"$CALLS"'
STANDINS = {
    # runs what it is given, on this machine
    "srun": f"{LOG}\nwhile [[ $1 == --* ]]; do shift; done\nexec \"$@\"",
    "scontrol": f"{LOG}\n[ \"$1\" = show ] && printf 'node1\\nnode2\\nnode3\\n'; true",
    "hostname": "echo '10.1.2.3 '",
    "ray": f"{LOG}\nif [ \"$1\" = start ]; then stat -c %a \"$RAY_AUTH_TOKEN_PATH\" >>\"$CALLS\"; exec sleep 60; fi",
    "python": f"{LOG}\n[ \"$1\" = -c ] && echo secret\n[ \"$1\" = -m ] && {{ eval \"$DRIVER\"; }}; true",
}  # fmt: skip


@pytest.fixture
def job(tmp_path):
    """Starts the script as Slurm would on three nodes: job(driver, *words) -> the process."""
    (tmp_path / "bin").mkdir()
    for name, body in STANDINS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"SLURM_JOB_ID": "41234", "SLURM_JOB_NODELIST": "node[1-3]", "SLURM_JOB_NUM_NODES": "3"}
    started = []

    def start(driver: str, *words: str) -> subprocess.Popen:
        process = subprocess.Popen(
            ["bash", SCRIPT, *words],
            env=environment | {"CALLS": str(tmp_path / "calls"), "DRIVER": driver},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_the_script_starts_head_and_workers_and_ends_as_the_command_does(job, tmp_path):
    process = job("sleep 1; exit 3", "curate", "ltd", "/shared/a b.jsonl", "--out", "/o")
    assert process.wait(60) == 3, process.stdout.read()
    said = calls(tmp_path)
    assert any(line.startswith("ray start --block --head --node-ip-address=10.1.2.3 --port=21234 ") for line in said)
    assert any(line.startswith("ray start --block --address=10.1.2.3:21234 ") for line in said)
    workers = next(line for line in said if line.startswith("srun") and "--exclude" in line)
    assert "--nodes=2 --ntasks-per-node=1 --exclude=node1" in workers
    assert "python -m jobs curate ltd /shared/a b.jsonl --out /o RAY_ADDRESS=10.1.2.3:21234" in said
    assert {line for line in said if line.isdecimal()} == {"600"}
    assert not list(tmp_path.glob(".winnow-token*"))
    assert not any("requeue" in line for line in said)


def test_before_the_time_limit_the_command_is_ended_and_the_job_goes_back_into_the_queue(job, tmp_path):
    driver = "trap 'exit 143' TERM; echo ready >>$CALLS; while :; do sleep 0.1; done"
    process = job(driver, "curate", "ltd")
    until = time.monotonic() + 60
    while not (tmp_path / "calls").exists() or "ready" not in calls(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.1)
    process.terminate()
    assert process.wait(30) == 143, process.stdout.read()
    assert calls(tmp_path)[-1].startswith("scontrol requeue 41234")


def test_without_a_command_it_says_how_it_is_used(job):
    process = job("", *())
    assert process.wait(30) == 2
    assert process.stdout.read() == "usage: sbatch [--nodes=N] cluster/slurm.sh COMMAND ...\n"
