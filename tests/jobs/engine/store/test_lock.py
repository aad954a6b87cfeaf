"""One writer at a time."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.engine.store.folder import Folder
from jobs.engine.store.lock import StoreBusy, locked
from jobs.engine.store.lock_file import lock_file
from tests.full_disk import files_up_to

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


@pytest.mark.fault(
    "two drivers want one store",
    how="a second process while the first holds the lock",
    holds="it is refused; after the first one's death it goes on",
)
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


def test_lock_of_another_container_with_the_name_of_this_machine_is_watched_like_one_of_another_machine(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    lock_of(tmp_path, host=socket.gethostname(), pid=ended.pid, pids="pid:[1]")
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


def test_a_full_disk_leaves_no_lock_that_says_nothing(tmp_path):
    lock, owner = lock_file(Folder.at(tmp_path)), {"token": "mine"}
    with files_up_to(10), pytest.raises(OSError, match="File too large"):
        lock.created(owner)
    assert not list(tmp_path.iterdir())
    assert lock.created(owner)
    with files_up_to(10), pytest.raises(OSError, match="File too large"):
        lock.renewed(owner)
    assert lock.owner()["token"] == "mine"
    lock.release(owner)
    assert not list(tmp_path.iterdir())


GONE = {"token": "other", "host": "elsewhere", "pid": 1, "renewed": 0.0}


@pytest.fixture(params=["s3", "old s3", "memory"])  # the first makes a file only if there is none; the others do not
def place(request, tmp_path):
    if request.param == "memory":
        yield Folder.at(f"memory://{tmp_path}/store")
        return
    server = request.getfixturevalue("s3")
    folder = Folder.at(f"{server.bucket()}/store")
    server.knows_conditions = request.param == "s3"
    yield folder
    server.knows_conditions = True


def test_at_a_url_a_second_run_is_refused_and_the_lock_is_gone_afterwards(place):
    with locked(place.url, print, lease=3.0, settling=0.1):
        with pytest.raises(StoreBusy, match="in use by process"), locked(place.url, print, lease=3.0, settling=0.1):
            pass
        assert place.names() == ["lock.json"]
    assert place.names() == []


@pytest.mark.fault(
    "two drivers want one store",
    how="four that take over a stale lock on S3 at once",
    holds="one at a time has it",
)
def test_at_a_url_only_one_of_many_has_a_lock_that_is_taken_over(place):
    place.write("lock.json", json.dumps(GONE).encode())
    inside, most, done = [], [], []

    def contend() -> None:
        try:
            with locked(place.url, said.append, lease=1.0, settling=0.5):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.3)
                inside.pop()
                done.append(1)
        except StoreBusy:
            pass

    said: list[str] = []
    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert sum("took over the lock of process 1 on elsewhere, which is gone" in line for line in said) == 1
    assert len(done) == len(most)
    assert place.names() == []


def test_a_store_that_does_not_name_the_condition_refuses_a_second_run_and_gives_a_stale_lock_away(s3, monkeypatch):
    monkeypatch.setattr(s3, "names_conditions", False)
    place = Folder.at(f"{s3.bucket()}/store")
    place.write("lock.json", json.dumps(GONE).encode())
    with locked(place.url, print, lease=0.5, settling=0.0):
        assert not lock_file(place).created(GONE)
        with pytest.raises(StoreBusy, match="in use by process"), locked(place.url, print, lease=3.0):
            pass
    assert place.names() == []
    with s3.failing(lambda method, path: "ConditionalRequestConflict" if method == "PUT" else None):
        assert not lock_file(place).created(GONE)  # another process makes it at this moment


def test_what_two_that_make_a_lock_at_once_agree_on_is_the_last_where_a_store_cannot_refuse(place):
    lock = lock_file(place, 0.3)
    first, second = {"token": "a", "host": "h", "pid": 1}, {"token": "b", "host": "h", "pid": 2}
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(lock.created, (first, second))
        assert sum(found) == 1
    assert lock.owner()["token"] in "ab"


def test_an_owner_does_not_renew_a_lock_that_another_run_begins_to_take_over(place):
    lock, owner = lock_file(place, 0.1), {"token": "a", "host": "h", "pid": 1}
    assert lock.created(owner)
    assert lock.renewed(owner)
    place.write("lock-a.taken", b"{}")
    assert not lock.renewed(owner)
    assert not lock.taken_over(owner, {"token": "b", "host": "h", "pid": 2})
    with (
        pytest.raises(
            StoreBusy, match=r"another run began to and did not go on.*remove lock\.json and the files lock-"
        ),
        locked(place.url, print, lease=0.2, settling=0.1),
    ):
        pass


def test_a_lock_whose_place_cannot_be_reached_any_more_hides_no_other_error(s3):
    url = s3.bucket()

    def run() -> None:
        with locked(url, print), s3.failing(lambda *_: "ExpiredToken"):
            raise KeyError("of the run")

    with pytest.raises(KeyError, match="of the run"):
        run()


def test_the_process_number_of_a_container_that_was_started_again_is_no_owner(tmp_path):
    lock_of(tmp_path, host=socket.gethostname(), pid=os.getpid())
    began = time.monotonic()
    with locked(str(tmp_path), print, lease=30.0):
        assert time.monotonic() - began < 5
