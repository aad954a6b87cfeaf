"""Samples read by id: `pytest tests/jobs/engine/samples/test_reading.py`."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.terminal.errors import UsageError


def test_the_pool_of_an_earlier_release_is_read_and_a_column_that_it_lacks_is_refused(tmp_path):
    messages = [[{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "答"}] for n in range(3)]
    pq.write_table(pa.table({"id": range(3), "messages": messages, "raw": [b"{}"] * 3}), tmp_path / "part-0.parquet")
    parts = Parts(str(tmp_path), ("part-0.parquet",), (0,), (3,))
    (table,) = read_samples(parts, np.array([0, 2]), ["id", "messages"])
    assert table["id"].to_pylist() == [0, 2]
    assert [each[0]["content"] for each in table["messages"].to_pylist()] == ["0", "2"]
    assert {each[1]["reasoning"] for each in table["messages"].to_pylist()} == {None}
    with pytest.raises(UsageError, match="has no column rejected: another version of Winnow made the pool; ingest it"):
        next(read_samples(parts, np.array([0]), ["id", "rejected"]))


def test_a_place_that_refuses_a_part_says_why_as_far_as_it_tells_and_which(s3):
    parts = Parts(s3.bucket(), ("part-0.parquet",), (0,), (3,))
    with s3.failing(lambda method, path: "ExpiredToken"), pytest.raises(OSError, match="expired") as refused:
        next(read_samples(parts, np.array([0]), ["id"]))
    assert str(refused.value.filename).endswith("part-0.parquet")
