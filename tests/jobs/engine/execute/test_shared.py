"""A folder that another node does not see, on a node of this machine that has a file system of its own there."""

import os
import subprocess
import sys
import time

import pytest
import ray

from jobs.engine.execute.shared import refuse_unshared
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError

NODE = (
    "mount --bind {own} {place} && exec {python} -m ray.scripts.scripts start --address {address} --num-cpus 1 --block"
)


def alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def wait_for(count: int) -> None:
    deadline = time.monotonic() + 90
    while len(alive()) != count:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def second_node(ray_session, tmp_path):
    """A second node, which sees another folder at tmp_path/place. Gives its id."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no other view of the file system can be made here")
    for name in ("own", "place", "shared"):
        (tmp_path / name).mkdir()
    before = alive()
    address = ray.get_runtime_context().gcs_address
    started = f"{sys.executable} -m ray.scripts.scripts"
    command = NODE.format(own=tmp_path / "own", place=tmp_path / "place", ray=started, address=address)
    process = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(len(before) + 1)
        (node,) = alive() - before
        yield node
    finally:
        process.terminate()
        process.wait(30)
        wait_for(len(before))


def test_a_folder_of_one_node_alone_is_refused_with_the_node_and_shared_places_are_not(second_node, s3, tmp_path):
    place, shared, url = Folder(str(tmp_path / "place")), Folder(str(tmp_path / "shared")), Folder(s3.bucket())
    refuse_unshared(shared)
    refuse_unshared(url)
    with pytest.raises(WinnowError, match=r"another folder of that name, or none, on the node [\d.]+ \(") as refused:
        refuse_unshared(place)
    assert second_node[:12] in str(refused.value)
    assert str(refused.value).startswith(str(place))
    denied = pytest.raises(WinnowError, match=rf"Access Denied, on the node [\d.]+ \({second_node[:12]}\)")
    with s3.failing(lambda method, path: "AccessDenied" if path.endswith(second_node) else None), denied:
        refuse_unshared(url)
    assert not any(os.listdir(tmp_path / name) for name in ("own", "place", "shared"))
    assert url.names() == []
