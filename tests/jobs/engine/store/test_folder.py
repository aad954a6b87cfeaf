"""A folder by its URL, on the local disk and on a file system that is reached by a URL."""

import numpy as np
import pyarrow as pa
import pytest

from jobs.engine.store.feature import VALUE, Feature
from jobs.engine.store.folder import Folder
from jobs.engine.store.lock import locked
from jobs.engine.store.merging import settled


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request, tmp_path):
    if request.param == "s3":
        return Folder.at(f"{request.getfixturevalue('s3').bucket()}/a/")
    return Folder.at(tmp_path / "a" if request.param == "local" else f"memory://{tmp_path}/a/")


def test_a_folder_that_is_not_there_is_empty(folder):
    assert not folder.exists()
    assert folder.names() == []
    assert folder.matching("*") == []
    folder.remove()
    with pytest.raises(FileNotFoundError):
        folder.content("x")


def test_files_are_written_listed_read_and_removed(folder):
    folder.make()
    folder.write("x.json", "语".encode())
    folder.inner("in").make()
    folder.inner("in").write("y.json", b"y")
    assert folder.names() == ["in", "x.json"]
    assert folder.matching("*.json") == [folder.file("x.json")]
    assert folder.matching("**/*.json") == [folder.file("in/y.json"), folder.file("x.json")]
    assert folder.exists("x.json")
    assert folder.content("x.json").decode() == "语"
    with folder.reading("in/y.json") as file:
        assert file.read() == b"y"
    folder.remove("in")
    assert folder.names() == ["x.json"]
    assert str(folder.inner("in")) == folder.file("in")


@pytest.mark.parametrize("name", ["data [v2]", "a*", "a?", "语 100% #1"])
def test_a_folder_whose_own_name_looks_like_a_pattern_is_a_folder_like_any_other(tmp_path, name):
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "part-other.parquet").touch()
    folder = Folder.at(tmp_path / name)
    folder.make()
    folder.write("x.json", b"x")
    feature = Feature(folder.url)
    feature.write(np.array([0]), pa.array([bytes(16)], pa.binary(16)), pa.array([2.0]), [None])
    assert folder.matching("*.json") == [folder.file("x.json")]
    assert settled(feature, 1).tolist() == [VALUE]
    assert feature.values(np.array([0])).tolist() == [2.0]


def test_in_a_bucket_a_folder_may_look_like_a_pattern_too_and_its_lock_is_given_back(s3):
    folder = Folder.at(f"{s3.bucket()}/data [v2]")
    with locked(folder.url, print, settling=0.0):
        assert folder.names() == ["lock.json"]
    assert folder.names() == []
    folder.inner("in").write("x.json", b"x")
    folder.remove("in")
    assert not folder.exists()


def test_a_folder_that_was_made_in_the_console_of_an_object_store_is_empty(s3):
    folder = Folder.at(f"{s3.bucket()}/made")
    fs, root = folder.opened()
    fs.pipe_file(f"{root}/", b"")
    assert (folder.names(), folder.matching("**")) == ([], [])
    folder.write("x.json", b"x")
    assert (folder.names(), folder.matching("**")) == (["x.json"], [folder.file("x.json")])


def test_a_file_has_its_name_only_once_it_is_whole(folder):
    folder.make()
    folder.write("x", b"before")

    def fail():
        with folder.writing("x") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert folder.content("x") == b"before"
    assert folder.names() == ["x"]


def test_a_local_path_becomes_absolute_and_a_url_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Folder.at("out/").url == f"{tmp_path}/out"
    assert Folder.at("out").local
    assert Folder.at("memory://out/").url == "memory://out"
    assert not Folder.at("memory://out").local
