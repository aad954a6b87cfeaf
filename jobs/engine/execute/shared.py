"""Whether all nodes of the cluster see the same store and the same output, found out before they are written to.

A folder of one node's disk looks like a shared one until another node does not find what the first one wrote.
"""

import uuid
from collections.abc import Iterable
from contextlib import suppress

import ray
from ray.exceptions import RayError, RayTaskError

from jobs.engine.execute.fetching import only_on
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.place_errors import of_a_place

PATIENCE_SECONDS = 120.0
"""How long a node may take to answer: it may have to start a worker first."""


def refuse_unshared(place: Folder) -> None:
    """Raises WinnowError, which names the node, where a node does not see a place as this process does.

    The place is there already. Each node reads a file of this process, and writes one that this process reads. Nothing
    is done on a cluster of one node.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in _alive()}
    if len(nodes) < 2:
        return
    probe = f".winnow-{uuid.uuid4().hex}"
    place.write(probe, probe.encode())
    try:
        asked = {_seen.options(scheduling_strategy=only_on(node)).remote(place, probe, node): node for node in nodes}
        answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE_SECONDS)
        for task in (*answered, *late):
            node = asked[task]
            fault = _fault(task, place, f"{probe}-{node}") if task in answered else "it does not answer"
            if fault and any(each["NodeID"] == node for each in _alive()):
                raise WinnowError(
                    f"{place}: {fault} on the node {nodes[node]} ({node[:12]}); "
                    "give a folder that all nodes share, or a URL such as s3://bucket/folder"
                )
    finally:
        _remove(place, (probe, *(f"{probe}-{node}" for node in nodes)))


def _alive() -> Iterable[dict]:
    return (node for node in ray.nodes() if node["Alive"])


def _fault(task: ray.ObjectRef, place: Folder, written: str) -> str:
    """What is wrong with a place as a node sees it; empty if nothing is."""
    try:
        fault = ray.get(task)
    except RayTaskError as error:
        return " ".join(str(error.cause).split())
    except RayError:  # the node went away, which is no fault of the place
        return ""
    return fault or ("" if place.exists(written) else "this process does not find what was written there")


@ray.remote(num_cpus=0, max_retries=0)
def _seen(place: Folder, probe: str, node: str) -> str:
    """Reads the file of the driver and writes another one. Returns what is wrong; empty if nothing is."""
    try:
        if not place.exists(probe):
            return "there is another folder of that name, or none,"
        place.write(f"{probe}-{node}", b"x")
    except Exception as error:
        if not of_a_place(error):
            raise
        return f"{getattr(error, 'strerror', None) or error},"
    return ""


def _remove(place: Folder, names: Iterable[str]) -> None:
    for name in names:
        with suppress(OSError):  # what was found is more important than a small hidden file
            place.remove(name)
