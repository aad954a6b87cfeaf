"""A folder that another node does not see, on a node of this machine that has a file system of its own there."""

import os
import subprocess

import pytest

from jobs.engine.execute.shared import refuse_unshared
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError
from tests.nodes import more_nodes


@pytest.fixture
def second_node(ray_session, tmp_path):
    """A second node, which sees another folder at tmp_path/place. Gives its id."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no other view of the file system can be made here")
    for name in ("own", "place", "shared"):
        (tmp_path / name).mkdir()
    bound = f'mount --bind {tmp_path / "own"} {tmp_path / "place"} && exec "$@"'
    with more_nodes(1, 1, ["unshare", "-m", "--propagation", "private", "sh", "-c", bound, "sh"]) as (node,):
        yield node


@pytest.mark.fault(
    "nodes do not share a folder",
    how="a second node that has a file system of its own at the store",
    holds="refused before the first map, with the node",
)
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
