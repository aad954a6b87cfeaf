"""Writing so that a file is whole or not there: `pytest tests/jobs/engine/ingest/test_folder.py`."""

import errno
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.ingest.folder import UNFINISHED, Folder


def test_writing_that_fails_leaves_the_earlier_file(tmp_path):
    (tmp_path / "a").write_bytes(b"before")

    def half():
        with Folder.at(str(tmp_path)).writing("a") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert (tmp_path / "a").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_writing_to_a_full_disk_names_the_path(tmp_path):
    os.symlink("/dev/full", tmp_path / f"a.parquet{UNFINISHED}")
    table = pa.table({"text": [str(n) * 10 for n in range(100_000)]})

    def written():
        with Folder.at(str(tmp_path)).writing("a.parquet") as file:
            pq.write_table(table, file)

    with pytest.raises(OSError, match="No space left on device after") as raised:
        written()
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(tmp_path / "a.parquet")
    assert os.listdir(tmp_path) == []
