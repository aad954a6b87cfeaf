"""Files are whole under their name or not there, locally and on another file system."""

import errno
import os
import subprocess
import sys

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.store.folder import Folder
from jobs.engine.store.writing import UNFINISHED, whole_file, write_atomically
from tests.full_disk import files_up_to


@pytest.fixture(params=["file", "memory"])
def folder(request, tmp_path):
    """A file system, and the path of an empty folder in it."""
    fs = fsspec.filesystem(request.param)
    root = str(tmp_path) if request.param == "file" else f"/writing{tmp_path}"
    fs.makedirs(root, exist_ok=True)
    yield fs, root
    if request.param == "memory":
        fs.rm(root, recursive=True)


def names(fs, root):
    return sorted(path.rsplit("/", 1)[-1] for path in fs.ls(root, detail=False))


def test_a_file_has_its_name_when_the_block_has_ended_and_not_before(folder):
    fs, root = folder
    with whole_file(f"{root}/北京.txt", fs) as file:
        file.write(b"one ")
        assert not fs.exists(f"{root}/北京.txt")
        file.write(b"two")
    assert fs.cat_file(f"{root}/北京.txt") == b"one two"
    assert names(fs, root) == ["北京.txt"]


def test_a_block_that_raises_leaves_the_earlier_file(folder):
    fs, root = folder
    write_atomically(fs, f"{root}/a", b"before")

    def half():
        with whole_file(f"{root}/a", fs) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert fs.cat_file(f"{root}/a") == b"before"
    assert names(fs, root) == ["a"]


def test_two_that_write_one_file_at_a_time_do_not_mix(tmp_path):
    with whole_file(tmp_path / "a") as first, whole_file(tmp_path / "a") as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.fault(
    "a disk is full",
    how="RLIMIT_FSIZE of 20 kB",
    holds="the error names the path and the bytes written; no file is left",
)
def test_a_write_without_space_names_the_path_and_leaves_nothing(tmp_path):
    table = pa.table({"text": [str(n) * 10 for n in range(100_000)]})

    def written():
        with whole_file(tmp_path / "a.parquet") as file:
            pq.write_table(table, file)

    with files_up_to(20_000), pytest.raises(OSError, match=r"File too large after [\d,]+ bytes") as raised:
        written()
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(tmp_path / "a.parquet"))
    assert os.listdir(tmp_path) == []


@pytest.mark.fault(
    "a process is killed at any point of writing",
    how="a process that ends within a write",
    holds="no half file has the name; what is left is removed later",
)
def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    for name in ("a.tmp", ".hidden.tmp", "selected.jsonl"):
        (tmp_path / name).touch()
    code = f"with whole_file({str(tmp_path / 'selected.jsonl')!r}): os._exit(0)"
    code = f"import os\nfrom jobs.engine.store.writing import whole_file\n{code}"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert sum(bool(UNFINISHED.fullmatch(name)) for name in os.listdir(tmp_path)) == 1
    Folder.at(tmp_path).remove_unfinished()
    assert sorted(os.listdir(tmp_path)) == [".hidden.tmp", "a.tmp", "selected.jsonl"]
