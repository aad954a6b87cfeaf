"""Each reason for quarantine, with its message: `pytest tests/jobs/engine/ingest/test_records.py`."""

import json
import time
from contextlib import suppress

import pytest

from jobs.engine.ingest import IngestSettings, RecordFault
from jobs.engine.ingest.faults import Piece
from jobs.engine.ingest.files.forms import Form, form_of
from jobs.engine.ingest.records.quarantine import final_lines, interim_line
from jobs.engine.ingest.records.records import record_of, samples_of

SETTINGS = IngestSettings()
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def many_turns(count):
    return json.dumps({"messages": TURNS * count}).encode()


@pytest.mark.parametrize(
    ("raw", "kind", "says"),
    [
        (b'{"instruction": "a" "output": "b"}', "malformed_json", "Expecting ',' delimiter at column 21"),
        (b'{"instruction": "a', "malformed_json", "Unterminated string starting at column 17"),
        (b'{"instruction": "a", "output": "b"} x', "malformed_json", "Extra data at column 37"),
        (b'{"instruction": "\x00", "output": "b"}', "malformed_json", "Invalid control character at column 18"),
        ("\ufeff{}".encode(), "malformed_json", "Expecting value at column 1"),
        (b"[1, 2]", "not_an_object", "the record is an array, expected an object with named fields"),
        (b'"text"', "not_an_object", "the record is a string"),
        (b"null", "not_an_object", "the record is null"),
        (b"true", "not_an_object", "the record is a boolean"),
        (b"12", "not_an_object", "the record is a number"),
        (b'{"instruction": "\xff"}', "invalid_utf8", "byte 0xff at byte 18 is not UTF-8"),
        (b'{"instruction": "a", "output": NaN}', "wrong_type", "output is null, expected a string"),
        (b'{"instruction": "x", "instruction": "a", "output": "b"}', "duplicate_key", "'instruction' is there twice"),
        (b'{"messages": [{"role": "user", "content": "a", "content": null}]}', "duplicate_key", "'content' is there"),
        (b'{"n": 1, "n": true}', "duplicate_key", "the field 'n' is there twice, with two values"),
        (b'{"instruction": "a", "output": -Infinity}', "wrong_type", "output is a number, expected a string"),
        (
            b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}",
            "too_deep",
            "the limit is 64 (max_nesting); --limit max_nesting=N sets another",
        ),
        (b"[" * 1_000_000, "too_deep", "nested 1,000,000 deep"),
        (many_turns(10_001), "too_many_turns", "the limit is 10,000 (max_turns); --limit max_turns=N"),
        (
            b'{"instruction": "a\\ud800", "output": "b"}',
            "lone_surrogate",
            "message 1 (user) has half of a surrogate pair, \\ud800",
        ),
    ],
)
@pytest.mark.fault(
    "a line is no record",
    how="broken JSON, arrays, numbers, NaN, double keys, bytes that are not UTF-8, lone surrogates",
    holds="a typed reason with the column",
)
def test_sample_of_faulty_record_says_what_is_wrong(raw, kind, says):
    with pytest.raises(RecordFault) as raised:
        samples_of(raw, SETTINGS)
    assert raised.value.kind == kind
    assert says in raised.value.message


@pytest.mark.parametrize(
    "raw",
    [
        b'{"instruction": "\\u0000 NaN [[[", "output": "\\ud83d\\ude00"}',
        b'{"instruction": "' + b"[{" * 500 + b'", "output": "b"}',
        b'{"instruction": "a", "output": "b", "n": ' + b"9" * 5000 + b"}",
        b'{"instruction": "a", "output": "b", "unused": "\\ud800"}',
        b'{"instruction": "a", "instruction": "a", "output": "b", "n": [1], "n": [1]}',
        many_turns(10_000),
    ],
)
def test_sample_of_unusual_record_is_a_sample(raw):
    sample = samples_of(raw, SETTINGS)[0]
    assert sample.format in ("alpaca", "openai")
    assert [message["role"] for message in sample.messages[:2]] == ["user", "assistant"]


@pytest.mark.fault("a record is too large or too deep", how="100,000 nested arrays", holds="refused, and no crash")
def test_record_of_nesting_beyond_the_parser_is_refused_not_a_crash():
    with pytest.raises(RecordFault, match="deeper than can be read"):
        record_of(b"[" * 100_000 + b"]" * 100_000, max_nesting=10**9)
    for depth in range(300, 1000, 100):  # in a text, where the limit of the record does not count
        call = '[{"name": "f", "arguments": ' + '{"a": ' * depth + "1" + "}" * depth + "}]"
        record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": call}]}
        with suppress(RecordFault):
            assert samples_of(json.dumps(record).encode(), SETTINGS)


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (Piece(2, "中\ud800".encode("utf-8", "surrogatepass")), {"raw_base64": "5Lit7aCA"}),
        (Piece(2, "中文".encode()), {"raw": "中文"}),
        (Piece(2, "中文".encode()[:4], length=999), {"raw": "中", "raw_bytes": 999, "raw_cut": True}),
        (Piece(None, b""), {"raw": ""}),
    ],
)  # fmt: skip
def test_quarantine_lines_hold_source_absolute_line_and_raw(piece, expected):
    interim = interim_line(piece, RecordFault("kind", "a message\nof two lines, \ud800"))
    (line,) = final_lines([interim], "a b.jsonl", 40)
    found = json.loads(line)
    said = {key: found.pop(key) for key in ("source", "line", "reason", "message")}
    assert said == {
        "source": "a b.jsonl", "line": 42 if piece.line else None, "reason": "kind",
        "message": "a message\nof two lines, \ud800",
    }  # fmt: skip
    assert found == expected


def test_a_record_that_ends_inside_a_string_of_many_quotes_takes_no_time():
    inner = json.dumps([{"name": "f", "arguments": {"a": number}} for number in range(20_000)])
    raw = json.dumps({"messages": [*TURNS, {"role": "tool", "content": inner}]}).encode()
    began = time.process_time()
    for cut in (300_000, 300_001, 300_002, 300_003):
        with pytest.raises(RecordFault) as raised:
            record_of(raw[:cut], max_nesting=64)
        assert raised.value.kind == "malformed_json"
        assert form_of(raw[: cut // 5], "a.jsonl") == Form("lines")
        wrapped = b'{"data": [' + raw[: cut // 5]
        assert form_of(wrapped, "a.json") == Form("elements", wrapped=True)
    assert time.process_time() - began < 1
