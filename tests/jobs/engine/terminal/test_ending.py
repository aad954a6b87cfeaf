"""A process that gets SIGTERM ends with 143 and leaves no lock, also where it would not end by itself."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, time
from jobs.engine.store.lock import locked
from jobs.engine.terminal import ending
from jobs.engine.terminal.program import exit_code

ending.UNWINDING_SECONDS = 0.5

def main():
    with locked(sys.argv[1], print):
        try:
            print("ready", flush=True)
            time.sleep(100)
        finally:
            {unwinds}
    return 0

sys.exit(exit_code(main))
"""


@pytest.mark.parametrize("unwinds", ["pass", "time.sleep(100)"], ids=["at once", "never"])
@pytest.mark.fault(
    "the driver is ended by SIGTERM",
    how="SIGTERM twice, also where the command does not stop by itself",
    holds="exit code 143 within 20 s, without its lock",
)
def test_sigterm_ends_a_command_in_time_and_gives_its_lock_back(tmp_path, unwinds):
    program = PROGRAM.replace("{unwinds}", unwinds)
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    assert (tmp_path / "lock.json").exists()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, time.monotonic() - began < 20) == (143, True)
    assert ("ended by SIGTERM" in said) == (unwinds == "pass")
    assert list(tmp_path.iterdir()) == []
