"""Parquet rows as JSON records: `pytest tests/jobs/ingest/test_rows.py`."""

import datetime
import decimal
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.rows import Rows


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


def test_rows_over_the_limit_are_quarantined():
    (piece,) = Rows(parquet(pa.table({"text": ["x" * 200]})), 100)
    assert (piece.fault.kind, piece.length) == ("record_too_large", 211)


def test_rows_of_a_corrupt_file_are_one_fault():
    for content in (b"not parquet at all", parquet(pa.table({"a": ["x"]})).getvalue()[:-20]):
        (piece,) = Rows(io.BytesIO(content), 100)
        assert (piece.line, piece.fault.kind) == (None, "corrupt_file")
        assert "not readable as parquet" in piece.fault.message
