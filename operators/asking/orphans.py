"""Processes that end with the one that started them, also where it was killed.

vLLM has a process per GPU where a worker has several. In vLLM 0.32 such a process ends by itself when the worker was
killed, unless it waits in a kernel for another one that has ended. It would hold its GPU, and the next worker would
find no memory. An engine in a process of its own (VLLM_ENABLE_V1_MULTIPROCESSING=1) waits for requests for ever.
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
