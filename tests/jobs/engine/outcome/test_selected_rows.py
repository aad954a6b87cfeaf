"""The kept rows with the types of their files: `pytest tests/jobs/engine/outcome/test_selected_rows.py`."""

import datetime
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from jobs.engine.outcome import selected_rows
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import merged
from tests.jobs.corpora import jsonl, records

pytestmark = pytest.mark.usefixtures("ray_session")

SCHEMA = pa.schema(
    [
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("image", pa.binary()),
        ("at", pa.timestamp("us", "Asia/Shanghai")),
        ("cost", pa.decimal128(10, 2)),
        ("tags", pa.map_(pa.string(), pa.int32())),
    ],
    {"huggingface": "kept"},
)


def row(n):
    said = [{"role": "user", "content": f"问 {n}"}, {"role": "assistant", "content": f"答 {n}"}]
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=n)
    return {"messages": said, "image": b"\xff\x00%d" % n, "at": at, "cost": Decimal(n) / 4, "tags": [("n", n)]}


def test_rows_keep_the_schema_and_the_values_of_their_files_best_first(run, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    first = pa.Table.from_pylist([row(n) for n in range(30)], SCHEMA)
    second = pa.Table.from_pylist([row(n) for n in range(30, 40)], SCHEMA).append_column("more", pa.array(range(10)))
    pq.write_table(first, tmp_path / "in/a.parquet", row_group_size=7)
    pyarrow.feather.write_feather(second, str(tmp_path / "in/b.feather"), chunksize=3)
    code, said = run("at_random", "in", "--out", "out", "budget=25", store="own")
    assert code == 0, said
    kept = [json.loads(line)["messages"][0]["content"] for line in (tmp_path / "out/selected.jsonl").open()]
    found = pq.read_table(tmp_path / "out/selected.parquet")
    assert found.schema.equals(SCHEMA.append(pa.field("more", pa.int64())))
    assert found.schema.metadata[b"huggingface"] == b"kept"
    whole = {each["messages"][0]["content"]: each for table in (first, second) for each in table.to_pylist()}
    assert [each["messages"][0]["content"] for each in found.to_pylist()] == kept
    for each in found.to_pylist():
        assert {**each, "more": None} == {**whole[each["messages"][0]["content"]], "more": None}
    assert found["more"].null_count == sum(int(text.split()[1]) < 30 for text in kept)

    (pool,) = (tmp_path / "own/pools").iterdir()
    samples, runs = Samples.open(str(pool)), Folder.at(tmp_path / "runs")
    paths, rank = {each["uri"]: each["path"] for each in samples.facts["sources"]}, np.arange(40, 0, -1)
    runs.make()
    monkeypatch.setattr(selected_rows, "RUN_BYTES", 300)
    names = selected_rows._write_runs(samples.parts, np.arange(40), rank, paths, found.schema, runs, "rows")
    assert len(names) > 4
    rows = pa.concat_tables(merged(runs, names, selected_rows.RANK))
    assert rows["messages"].to_pylist() == [row(n)["messages"] for n in range(39, -1, -1)]

    (tmp_path / "in/b.feather").rename(tmp_path / "gone")
    code, said = run("at_random", str(pool), "--out", "again", "budget=25", store="own")
    assert code == 0, said
    assert "again/selected.parquet is left out" in said
    assert (tmp_path / "again/selected.jsonl").read_bytes() == (tmp_path / "out/selected.jsonl").read_bytes()


def test_records_of_other_files_have_no_rows(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(20))
    assert run("at_random", "in.jsonl", "--out", "out", "budget=2")[0] == 0
    assert not (tmp_path / "out/selected.parquet").exists()


def test_values_that_no_type_of_all_files_holds_leave_the_rows_out_and_the_records_in(run, tmp_path):
    (tmp_path / "in").mkdir()
    said = pa.array([row(n)["messages"] for n in range(20)])
    pq.write_table(pa.table({"messages": said, "id": range(2**60 + 1, 2**60 + 21)}), tmp_path / "in/a.parquet")
    pq.write_table(pa.table({"messages": [said[0].as_py()], "id": [0.5]}), tmp_path / "in/b.parquet")
    code, found = run("at_random", "in", "--out", "out", "budget=10")
    assert code == 0, found
    assert "selected.parquet is left out: " in found
    assert "a.parquet has a value that no type of all files holds: Integer value" in found
    assert len((tmp_path / "out/selected.jsonl").read_text().splitlines()) == 10
    assert not (tmp_path / "out/selected.parquet").exists()


def test_rows_are_read_a_bounded_number_at_a_time(tmp_path):
    """Arrow cannot take rows of a column with 2 GiB of bytes."""
    images = [b"\xff\x00%d" % n for n in range(5000)]
    table = pa.table({"image": images})
    pq.write_table(table, tmp_path / "a.parquet")
    numbers = np.arange(0, 5000, 2)
    rank = np.random.default_rng(0).permutation(len(numbers))
    found = list(selected_rows._ranked(str(tmp_path / "a.parquet"), numbers, rank, table.schema))
    assert max(map(len, found)) <= 1024 // 2
    whole = pa.concat_tables(found).sort_by(selected_rows.RANK)
    assert whole["image"].to_pylist() == [images[number] for number in numbers[np.argsort(rank)]]
