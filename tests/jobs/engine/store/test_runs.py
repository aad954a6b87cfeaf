"""Sorted runs, merged in blocks: `pytest tests/jobs/engine/store/test_runs.py`."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.store import runs
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few, merge, merged, write_run

SCHEMA = pa.schema([("rank", pa.int64()), ("raw", pa.large_binary())])


def written(folder: Folder, keys: list[np.ndarray], sizes: np.ndarray) -> list[str]:
    """A run for each of these arrays of keys. The value of a key has a size of its own."""
    names = []
    for number, ranks in enumerate(keys):
        raw = [b"%d" % rank * int(sizes[rank]) for rank in ranks]
        names.append(f"run-{number}")
        table = pa.table({"rank": ranks, "raw": raw}, SCHEMA)
        write_run(folder, names[-1], [table[: len(table) // 3], table[len(table) // 3 :]], SCHEMA, "rank")
    return names


@pytest.mark.parametrize("fan_in", [2, 3, 64])
def test_merged_runs_are_one_order_in_blocks_and_few_at_a_time(tmp_path, monkeypatch, fan_in):
    monkeypatch.setattr(runs, "BLOCK_BYTES", 300)
    monkeypatch.setattr(runs, "FAN_IN", fan_in)
    random = np.random.default_rng(fan_in)
    sizes = random.integers(0, 9, 700)
    sizes[5] = 500  # a value that is larger than a block
    dealt = random.integers(0, 7, 700)
    keys = [np.flatnonzero(dealt == run) for run in range(7)]
    keys[3] = keys[3][:0]
    folder = Folder.at(tmp_path)
    names = few(folder, written(folder, keys, sizes), "rank")
    assert len(names) <= fan_in
    tables = list(merged(folder, names, "rank"))
    found = pa.concat_tables(tables)
    expected = np.sort(np.concatenate(keys))
    assert found["rank"].to_pylist() == expected.tolist()
    assert found["raw"].to_pylist() == [b"%d" % rank * int(sizes[rank]) for rank in expected]
    assert max(table.nbytes for table in tables) < 7 * 300 + 2500
    with folder.reading(names[0]) as file:
        groups = pq.ParquetFile(file)
        assert groups.num_row_groups > 10
        assert max(groups.read_row_group(number).nbytes for number in range(groups.num_row_groups)) < 2500


def test_of_equal_keys_the_run_that_is_named_first_comes_first(tmp_path):
    folder = Folder.at(tmp_path)
    for name, ranks in {"a": [1, 4], "b": [1, 2, 4], "c": [4]}.items():
        table = pa.table({"rank": ranks, "raw": [name.encode()] * len(ranks)}, SCHEMA)
        write_run(folder, name, [table], SCHEMA, "rank")
    assert merge(folder, ["c", "a", "b"], "rank", "all") == "all"
    with folder.reading("all") as file:
        rows = pq.read_table(file).to_pylist()
    expected = [(1, b"a"), (1, b"b"), (2, b"b"), (4, b"c"), (4, b"a"), (4, b"b")]
    assert [(row["rank"], row["raw"]) for row in rows] == expected
