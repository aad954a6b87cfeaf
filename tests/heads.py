"""A Ray head of its own, as docs/clusters.md starts it, on free ports.

with head(folder, blocks("run by test_submit")[1]) as started:
    started.address, started.token
"""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

SECONDS = 90
PORTS = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
"""The ports that Ray would not choose by itself, so that two heads on a machine would meet."""


@dataclass(frozen=True)
class Head:
    """A head that runs."""

    address: str
    token: Path
    """The file that holds its token."""


@contextmanager
def head(home: Path, commands: Sequence[str], cpus: int = 2) -> Iterator[Head]:
    """Runs commands, the last of which starts a head, with a home of its own, and ends the head and its processes."""
    bin_ = Path(sys.executable).parent
    named = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # of other clusters
    environment = {name: value for name, value in os.environ.items() if name not in named}
    environment |= {"HOME": str(home), "PATH": f"{bin_}:{os.environ['PATH']}"}
    *before, last = commands
    for command in before:
        if command.startswith("export "):
            pairs = (word.split("=", 1) for word in shlex.split(command)[1:])
            environment |= {name: value.replace("~", str(home)) for name, value in pairs}
        else:
            subprocess.run(shlex.split(command), env=environment, check=True, capture_output=True, timeout=SECONDS)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    words = [*shlex.split(last), "--block", "--disable-usage-stats", f"--temp-dir={home}/ray", f"--num-cpus={cpus}"]
    words += ["--object-store-memory=200000000", "--dashboard-host=127.0.0.1"]
    words += [f"--{name}={port}" for name, port in ports.items()]
    started = Head(f"http://127.0.0.1:{ports['dashboard-port']}", home / ".ray/auth_token")
    with (home / "ray.log").open("w") as log:
        process = subprocess.Popen(
            words, **{"env": environment, "stdout": log, "stderr": log, "start_new_session": True}
        )
    try:
        wait_for_node(started, process)
        yield started
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for_node(started: Head, process: subprocess.Popen) -> None:
    """Returns when the dashboard knows its node."""
    until = time.monotonic() + SECONDS
    headers = {"Authorization": f"Bearer {started.token.read_text().strip()}"}
    while time.monotonic() < until and process.poll() is None:
        try:
            if "nodeId" in httpx.get(f"{started.address}/nodes?view=summary", headers=headers, timeout=5).text:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise TimeoutError(f"no Ray head at {started.address} in {SECONDS} s")
