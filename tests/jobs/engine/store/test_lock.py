"""One writer at a time."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from jobs.engine.store.lock import StoreBusy, locked

HOLDER = """
import sys, time
from jobs.engine.store.lock import locked
with locked(sys.argv[1], print, lease=1.0):
    print("held", flush=True)
    time.sleep(60)
"""


def lock_of(folder, **owner) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "lock.json").write_text(json.dumps({"token": "other", "renewed": time.time(), **owner}))


def test_lock_is_gone_after_the_block_and_after_an_error(tmp_path):
    with locked(str(tmp_path), print):
        assert (tmp_path / "lock.json").exists()
    with pytest.raises(ValueError, match="inside"), locked(str(tmp_path), print):
        raise ValueError("inside")
    assert not list(tmp_path.iterdir())


def test_second_run_is_refused_while_the_first_lives_and_goes_on_after_its_death(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StoreBusy, match=rf"in use by process {holder.pid}"),
            locked(str(tmp_path), print, lease=5.0),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
    said = []
    with locked(str(tmp_path), said.append, lease=5.0):
        assert any("took over the lock" in line for line in said)


def test_lock_of_another_machine_is_taken_over_when_its_lease_is_not_renewed(tmp_path):
    lock_of(tmp_path, host="elsewhere", pid=1)
    began = time.monotonic()
    with locked(str(tmp_path), print, lease=1.0):
        assert time.monotonic() - began >= 1.0


def test_lock_of_a_dead_process_here_is_taken_over_at_once(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    lock_of(tmp_path, host=socket.gethostname(), pid=ended.pid)
    began = time.monotonic()
    with locked(str(tmp_path), print, lease=30.0):
        assert time.monotonic() - began < 5
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()
