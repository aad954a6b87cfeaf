"""The scanner of .json files: `pytest tests/jobs/engine/ingest/test_elements.py`."""

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs.engine.ingest.faults import HEAD_BYTES, FileFault
from jobs.engine.ingest.files.elements import Elements
from jobs.engine.ingest.files.lines import BOM
from jobs.engine.ingest.records.records import compact

LIMIT = 1 << 20
NASTY = st.text(st.sampled_from('"\\[]{},:\n\t \u0000é中😀\u2028ab'), max_size=12)
VALUES = st.recursive(
    NASTY | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=8,
)
ARRAYS = st.lists(st.dictionaries(NASTY, VALUES, max_size=4), max_size=5)
LAYOUTS = st.sampled_from([{}, {"indent": 2}, {"indent": 0}, {"ensure_ascii": False}, {"separators": (",", ":")}])


def blocks_of(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def pieces_of(data, size=1 << 16, limit=LIMIT):
    return list(Elements(blocks_of(data, size), limit))


def found(pieces):
    """The line and the reason, or the parsed record, of each piece."""
    return [(piece.line, piece.fault.kind if piece.fault else json.loads(piece.raw)) for piece in pieces]


@settings(deadline=None, max_examples=60)
@given(ARRAYS, LAYOUTS, st.integers(1, 40))
def test_scanner_any_array_and_block_size_equals_json_loads(array, layout, size):
    data = json.dumps(array, **layout).encode()
    assert found(pieces_of(data, size)) == list(enumerate(array, 1))


@settings(deadline=None, max_examples=60)
@given(ARRAYS, LAYOUTS, st.integers(1, 40), st.data())
def test_scanner_cut_anywhere_keeps_whole_elements_and_says_the_rest(array, layout, size, data):
    text = json.dumps(array, **layout).encode()
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    pieces = pieces_of(cut, size)
    whole = [piece for piece in pieces if not piece.fault]
    assert [json.loads(piece.raw) for piece in whole] == array[: len(whole)]
    assert pieces[-1].fault.kind == "truncated_file"
    assert len([piece for piece in pieces if piece.fault]) == 1


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60), st.integers(1, 20))
def test_scanner_any_bytes_loses_no_visible_byte_and_ends(data, size):
    assume(BOM not in data)
    separators = b" \t\r\n,"
    pieces = pieces_of(b"[" + data, size)
    joined = b"".join(piece.raw for piece in pieces)
    kept = [byte for byte in joined if byte not in separators]
    expected = [byte for byte in data if byte not in separators]
    closed = expected.count(ord("]")) - kept.count(ord("]"))
    assert 0 <= closed <= 1
    assert len(kept) + closed == len(expected)


@settings(deadline=None, max_examples=60)
@given(VALUES, LAYOUTS)
def test_compact_any_value_parses_alike_on_one_line(value, layout):
    text = compact(json.dumps(value, **layout).encode())
    assert json.loads(text) == value
    assert b"\n" not in text


def test_compact_keeps_numbers_keys_and_escapes_as_written():
    text = b'{ "a" : 1.0,\n "a": 1e5, "n": 123456789012345678901234567890, "s": " \\u4e2d \\" , " }'
    assert compact(text) == b'{"a":1.0,"a":1e5,"n":123456789012345678901234567890,"s":" \\u4e2d \\" , "}'


PRETTY = b"""[
    {
        "instruction": "one",
        "output": "1"
    },
    {
        "instruction": "two,
        "output": "2", "more": [
        {"x": 1},
        {"y": 2}]
    },
    {
        "instruction": "three",
        "output": "3"
    }
]
"""


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_scanner_broken_element_resumes_at_the_next_at_the_same_indentation(size):
    pieces = pieces_of(PRETTY, size)
    assert [piece.line for piece in pieces] == [1, 2, 3]
    assert [bool(piece.fault) for piece in pieces] == [False, True, False]
    assert pieces[1].fault.kind == "malformed_json"
    assert pieces[1].raw.startswith(b'{\n        "instruction": "two,')
    assert pieces[1].raw.endswith(b"}")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (b'{"a": "two}', "not closed on its line"),
        (b'{"a": [2}', "closes what it did not open"),
        (b'{"a": {"b": 2}', "does not end before the next one begins"),
    ],
)
def test_scanner_each_kind_of_break_is_said(broken, says):
    pieces = pieces_of(b'[{"a": 1},\n' + broken + b',\n{"a": 3}]')
    assert found(pieces)[0::2] == [(1, {"a": 1}), (3, {"a": 3})]
    assert pieces[1].raw == broken
    # A brace that is missing meets the array's own end, which closes what it did not open.
    assert says in pieces[1].fault.message or "closes what it did not open" in pieces[1].fault.message


@pytest.mark.parametrize(("size", "repeats"), [(1, 100), (5, 100), (1000, 40_000), (1 << 20, 40_000)])
def test_scanner_huge_element_keeps_its_head_and_goes_on(size, repeats):
    big = b'{"a": "' + b'\\"},\\\\' * repeats + b'"}'
    pieces = pieces_of(b'[{"a": 1}, ' + big + b', {"a": 3}]', size, limit=2 * repeats)
    assert [piece.line for piece in pieces] == [1, 2, 3]
    assert pieces[1].fault.kind == "record_too_large"
    assert pieces[1].length == len(big)
    assert len(pieces[1].raw) <= HEAD_BYTES
    assert big.startswith(pieces[1].raw[:40])
    assert json.loads(pieces[2].raw) == {"a": 3}


def test_scanner_objects_one_after_another_are_elements():
    assert found(pieces_of(b'{\n "a": 1\n}\n{\n "a": 2\n}\n')) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize("text", [b"[]", b" [ ] \n", b"", b"\n \n", b"\xef\xbb\xbf[]"])
def test_scanner_nothing_inside_gives_nothing(text):
    assert pieces_of(text) == []


def test_scanner_commas_too_many_or_too_few_are_put_up_with():
    assert found(pieces_of(b'\xef\xbb\xbf[{"a":1},,{"a":2} {"a":3},]')) == [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3})]


def test_scanner_text_after_the_end_is_quarantined():
    pieces = pieces_of(b'[{"a":1}] trailing')
    assert pieces[1].fault.kind == "malformed_json"
    assert "8 bytes follow the end of the array" in pieces[1].fault.message
    assert pieces[1].raw == b"trailing"


def test_scanner_cut_between_elements_is_said_once():
    pieces = pieces_of(b'[{"a":1},\n')
    assert [(piece.line, piece.fault and piece.fault.kind) for piece in pieces] == [(1, None), (None, "truncated_file")]
    assert "1 elements were read" in pieces[1].fault.message


def test_scanner_unreadable_file_quarantines_what_it_broke_in():
    def blocks():
        yield b'[{"a":1},{"a":'
        raise FileFault("corrupt_file", "bad block")

    pieces = list(Elements(blocks(), LIMIT))
    assert pieces[0].fault is None
    assert (pieces[1].line, pieces[1].raw, pieces[1].fault.kind) == (2, b'{"a":', "corrupt_file")
    assert len(pieces) == 2


def test_scanner_nesting_bomb_is_one_element():
    pieces = pieces_of(b"[" + b"[" * 100_000 + b"]" * 100_000 + b',{"a":1}]')
    assert [len(piece.raw) for piece in pieces] == [200_000, 7]


PLAIN = NASTY | st.none() | st.booleans() | st.integers()
RECORDS = st.lists(st.dictionaries(NASTY, VALUES, min_size=1, max_size=3), min_size=1, max_size=3)
MEMBERS = st.dictionaries(st.sampled_from(["train", "rows", "more", "é", 'a"b']), RECORDS | PLAIN, max_size=4)


@settings(deadline=None, max_examples=100)
@given(MEMBERS, MEMBERS, LAYOUTS, st.integers(1, 40))
def test_scanner_gives_all_arrays_of_an_object_and_each_alone(outer, inner, layout, size):
    whole = {"data": [{"x": 1}], **outer, "inner": inner}
    arrays = {"data": whole["data"]} | {name: value for name, value in whole.items() if isinstance(value, list)}
    arrays |= {f"inner.{name}": value for name, value in inner.items() if isinstance(value, list)}
    text = json.dumps(whole, **layout).encode()
    records = [record for array in arrays.values() for record in array]
    assert found(pieces_of(text, size)) == list(enumerate(records, 1))
    for name, array in arrays.items():
        assert found(Elements(blocks_of(text, size), LIMIT, name)) == list(enumerate(array, 1))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60), st.integers(1, 20), st.integers(0, 60))
def test_scanner_any_bytes_in_an_object_of_arrays_end_and_are_said(data, size, at):
    text = b'{"data": [{"x": 1}, {"y": 2}], "train": [{"z": 3}]}'
    broken = text[:at] + data + text[at:]
    assume(BOM not in data)
    pieces = pieces_of(broken, size)
    assert pieces
    assert len(pieces) <= len(broken)
