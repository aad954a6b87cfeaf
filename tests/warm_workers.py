"""Ray's workers as forks of a process that has imported the libraries, in the place of a new interpreter each.

A worker imports Ray, torch and transformers before it looks at a sample. That takes four seconds of a CPU, and the
tests start hundreds of workers for a few samples each. Here Ray starts this file as the Python of its workers
(`py_executable` of its runtime environment). The file hands its command line, its environment and its open files to the
process that `warm` keeps, and that process forks.

Only libraries are imported before the fork. A worker imports our own modules itself, as it does on a user's machine,
and `pytest --cold-workers` runs the tests with the workers that Ray starts by itself.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARIES = (
    "pandas",
    "pyarrow.dataset",
    "torch",
    "safetensors.torch",
    "transformers.generation",
    "transformers.models.auto.auto_factory",
    "transformers.models.auto.tokenization_auto",
    "peft",
)
COLD = "WINNOW_COLD_WORKERS"
"""The environment variable of a node whose workers are no forks: they have its files, and its raylet as parent."""
RAY = "ray._private.workers.default_worker", "ray.data"
"""These read the environment of a worker when they are imported: the cluster and the job, the same for all of them."""


@contextmanager
def warm(folder: str) -> Iterator[dict[str, str]]:
    """Keeps the process that forks, with its socket in the folder; yields the runtime environment of its forks."""
    path = f"{folder}/warm"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, __file__, "--fork", str(listener.fileno())],
            stdin=subprocess.PIPE,  # its end is the end of the process, however this one ends
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    with process:
        assert process.stdout
        process.stdout.read(1)  # the libraries are imported
        yield {"py_executable": f"{sys.executable} -I -S {__file__} {path}"}
        assert process.stdin
        process.stdin.close()


def hand_over(path: str, arguments: list[str]) -> None:
    """Asks the process at the socket to become what Ray has started this process for."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"."], [0, 1, 2])
        connection.sendall(json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode())
        connection.shutdown(socket.SHUT_WR)


def fork_workers(listener: socket.socket) -> None:
    """Imports the libraries and forks for every connection; returns in the forks alone."""
    import gc
    import importlib
    import select

    for name in LIBRARIES:
        importlib.import_module(name)
    os.write(1, b".")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forks that end leave nothing behind
    while listener in select.select([listener, 0], [], [])[0]:
        connection, _ = listener.accept()
        _, files, _, _ = socket.recv_fds(connection, 1, 3)
        with connection, connection.makefile("rb") as sent:
            arguments, folder, environment = json.load(sent)
        os.environ.update(environment)
        if "ray" not in sys.modules:
            for name in RAY:
                importlib.import_module(name)
            gc.freeze()
        sys.modules["ray"].ObjectRef.from_random()  # Ray's random numbers go on: forks with the same ids would collide
        if not os.fork():
            listener.close()
            return become(files, arguments, folder, environment)
        for file in files:
            os.close(file)
    os._exit(0)


def become(files: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Takes over the files, the command line, the folder and the environment of a worker that Ray has started."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = arguments
    sys.path[0] = os.path.dirname(arguments[0])


if __name__ == "__main__":
    if os.environ.get(COLD):
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
    elif sys.argv[1] != "--fork":
        hand_over(sys.argv[1], sys.argv[2:])
    else:
        import runpy

        fork_workers(socket.socket(fileno=int(sys.argv[2])))
        runpy.run_path(sys.argv[0], run_name="__main__")
