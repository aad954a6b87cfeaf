"""Parquet rows as JSON records: `pytest tests/jobs/engine/ingest/test_rows.py`."""

import datetime
import decimal
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from jobs.engine.ingest import IngestSettings, RecordFault
from jobs.engine.ingest.files.parquet import Rows
from jobs.engine.ingest.files.tabular import rows_at, schema_at
from jobs.engine.ingest.records.records import samples_of


def parquet(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    file.seek(0)
    return file


def test_rows_of_every_type_are_json_in_schema_order():
    table = pa.table({
        "text": ["中\n\u2028"], "day": [datetime.date(2026, 1, 2)], "number": [1.5], "nothing": [float("nan")],
        "binary": [b"\xff\x00"], "price": [decimal.Decimal("1.20")], "items": [[{"a": 1, "b": None}]],
        "when": pa.array([1], pa.timestamp("ns")), "large": [2**62], "took": [datetime.timedelta(seconds=2)],
        "deep": [{"x": [float("inf")]}],
    })  # fmt: skip
    (piece,) = Rows(parquet(table), 1 << 20)
    assert piece.raw.decode() == (
        '{"text":"中\\n\u2028","day":"2026-01-02","number":1.5,"nothing":null,"binary":"/wA=","price":"1.20",'
        '"items":[{"a":1,"b":null}],"when":"1970-01-01T00:00:00.000000001","large":4611686018427387904,'
        '"took":2.0,"deep":{"x":[null]}}'
    )


@pytest.mark.parametrize(
    ("kind", "odd", "plain", "said"),
    [
        (pa.timestamp("s"), 2**40, 0, "1970-01-01T00:00:00"),
        (pa.list_(pa.timestamp("s")), [2**40], [0], ["1970-01-01T00:00:00"]),
        (pa.struct([("at", pa.date32())]), {"at": 10**7}, {"at": 0}, {"at": "1970-01-01"}),
        (pa.map_(pa.string(), pa.duration("s")), [("k", 2**62)], [("k", 1)], [["k", 1.0]]),
        (pa.duration("s"), 2**62, 1, 1.0),
    ],
    ids=str,
)
def test_a_time_that_python_cannot_hold_is_a_text_and_changes_no_other_row(kind, odd, plain, said):
    strings = pa.array([b"good", b"\xff", b"fine"], pa.binary()).view(pa.string())
    table = pa.table({"text": strings, "x": pa.array([odd, odd, plain], kind)})
    first, broken, last = Rows(parquet(table), 1000)
    assert json.loads(last.raw)["x"] == said
    assert json.loads(first.raw)["x"] == json.loads(broken.raw)["x"]
    assert any(word in first.raw.decode() for word in ("out of range", "29349-01-26", str(2**62)))


def test_rows_of_some_row_groups_are_numbered_from_one():
    file = parquet(pa.table({"n": range(10)}), row_group_size=4)
    assert [(piece.line, json.loads(piece.raw)["n"]) for piece in Rows(file, 100, (1,))] == [
        (1, 4),
        (2, 5),
        (3, 6),
        (4, 7),
    ]


def test_rows_with_bytes_that_are_not_utf8_are_quarantined_alone():
    strings = pa.array([b"good", b"\xff", b"fine"], pa.binary()).view(pa.string())
    pieces = list(Rows(parquet(pa.table({"instruction": strings, "n": [1, 2, 3]})), 100))
    assert [piece.fault and piece.fault.kind for piece in pieces] == [None, "invalid_utf8", None]
    assert pieces[1].line == 2
    assert json.loads(pieces[1].raw) == {"instruction": "/w==", "n": 2}
    assert "column 'instruction' holds a string that is not UTF-8" in pieces[1].fault.message


def test_rows_of_bytes_that_are_text_are_text_and_others_are_told():
    table = pa.table({
        "instruction": pa.array(["问".encode(), b"b"], pa.large_binary()),
        "messages": pa.array([[{"role": b"user", "content": "中".encode()}], [{"role": b"user", "content": b"\xff"}]]),
        "uuid": pa.array([b"abcd", b"efgh"], pa.binary(4)),
        "image": pa.array([{"bytes": b"GIF8", "path": "a"}, {"bytes": b"\x89PNG", "path": None}]),
        "blob": pa.array([None, b"\xfe"]),
    })  # fmt: skip
    text, other = Rows(parquet(table), 1 << 20)
    assert json.loads(text.raw) == {
        "instruction": "问", "messages": [{"role": "user", "content": "中"}], "uuid": "YWJjZA==",
        "image": {"bytes": "R0lGOA==", "path": "a"}, "blob": None,
    }  # fmt: skip
    assert (text.opaque, other.opaque) == ((), ("messages", "blob"))
    assert json.loads(other.raw)["messages"] == [{"role": "user", "content": "/w=="}]
    with pytest.raises(RecordFault, match="column 'messages' holds bytes that are not UTF-8") as raised:
        samples_of(other.raw, IngestSettings(), other.opaque)
    assert raised.value.kind == "invalid_utf8"
    raw = b'{"instruction": "a", "output": "b", "blob": "/g=="}'
    assert samples_of(raw, IngestSettings(), ("blob",))[0].messages


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.binary())])
def test_rows_of_every_kind_of_text_are_the_same_record(kind):
    table = pa.table({"instruction": pa.array(["a"]).cast(pa.binary()).cast(kind), "output": ["b"]})
    (piece,) = Rows(parquet(table), 100)
    assert piece.raw == b'{"instruction":"a","output":"b"}'


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["output", "output"]), "output"),
        (
            pa.table({
                "messages": pa.ListArray.from_arrays(
                    [0, 1], pa.StructArray.from_arrays([pa.array(["a"]), pa.array(["b"])], ["content", "content"])
                )
            }),
            "messages.content",
        ),
    ],
)  # fmt: skip
def test_rows_of_columns_with_one_name_are_one_fault_that_names_it(table, column):
    (piece,) = Rows(parquet(table), 100)
    assert (piece.line, piece.fault.kind) == (None, "duplicate_column")
    assert f"two columns {column!r}" in piece.fault.message


def test_rows_over_the_limit_are_quarantined():
    (piece,) = Rows(parquet(pa.table({"text": ["x" * 200]})), 100)
    assert (piece.fault.kind, piece.length) == ("record_too_large", 211)


@pytest.mark.fault(
    "a file is corrupt, cut short or empty",
    how="parquet files that are damaged",
    holds="one fault for each file",
)
def test_rows_of_a_corrupt_file_are_one_fault():
    for content in (b"not parquet at all", parquet(pa.table({"a": ["x"]})).getvalue()[:-20]):
        (piece,) = Rows(io.BytesIO(content), 100)
        assert (piece.line, piece.fault.kind) == (None, "corrupt_file")
        assert "not readable as parquet" in piece.fault.message


@pytest.mark.parametrize("write", [pq.write_table, pyarrow.feather.write_feather])
def test_rows_of_views_can_be_taken_and_sorted(write, tmp_path):
    schema = pa.schema([("image", pa.binary_view()), ("at", pa.string_view()), ("n", pa.int64())])
    rows = [{"image": b"\xff", "at": f"时{n}", "n": n} for n in range(5)]
    if write is not pq.write_table:  # which writes no views inside lists
        schema = schema.append(pa.field("said", pa.list_(pa.struct([("content", pa.string_view())]))))
        rows = [{**row, "said": [{"content": "问"}]} for row in rows]
    write(pa.Table.from_pylist(rows, schema), str(tmp_path / "a"))
    with (tmp_path / "a").open("rb") as file:
        plain = schema_at(file)
        (found,) = rows_at(file, np.array([1, 3]))
    assert found.schema == plain
    assert found.sort_by([("at", "descending")]).to_pylist() == [rows[3], rows[1]]
