"""Processes that end with the one that started them, also where it was killed.

vLLM's engine over several GPUs is a process of its own, with one more per GPU. In vLLM 0.32 the latter end when the
engine ends (they read from a pipe that it holds), but the engine waits for requests for ever when the process that
asked it was killed. It would hold the GPUs, and the next worker would find no memory.
"""

import os
import subprocess
import sys

WATCH = """
import os, signal, sys, time
group = int(sys.argv[1])
while os.getppid() == group:
    time.sleep(0.2)
try:
    os.killpg(group, signal.SIGKILL)
except ProcessLookupError:
    pass
"""
"""Not the kernel's PR_SET_PDEATHSIG, which also kills where only the thread that started the process has ended."""


def leave_no_orphans() -> None:
    """From now on, the processes that this one starts are killed when it has ended, however that came.

    They share its process group, which a process outside of it watches over. A process that was started before, or
    makes a group of its own, goes on.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WATCH, str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
