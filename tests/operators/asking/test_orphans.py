"""Processes that end with the one that started them: an engine with the worker that was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

PARENT = """
import subprocess, sys
from operators.asking.orphans import leave_no_orphans

leave_no_orphans()
nested = "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
engine = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE, text=True)
print(engine.pid, engine.stdout.readline().strip(), flush=True)
engine.wait()
"""


def running(pid: int) -> bool:
    """Whether the process is there and has not ended; a zombie has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.fault(
    "a language model's engine dies",
    how="SIGKILL and SIGTERM of the process that started an engine",
    holds="the engine's processes end, so that its GPU is free",
)
def test_a_killed_worker_s_engine_is_gone_with_its_own_children(end):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    engine, nested = map(int, parent.stdout.readline().split())
    assert running(engine)
    assert running(nested)
    parent.send_signal(end)
    parent.wait()
    deadline = time.monotonic() + 30
    while (running(engine) or running(nested)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(engine)
    assert not running(nested)
