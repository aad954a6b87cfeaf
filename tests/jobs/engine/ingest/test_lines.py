"""Lines of byte ranges: `pytest tests/jobs/engine/ingest/test_lines.py`."""

import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine.ingest.faults import HEAD_BYTES, FileFault
from jobs.engine.ingest.files.lines import Lines
from jobs.engine.ingest.files.streams import Range


def lines_of(data, start=0, stop=None, *, block=1 << 16, limit=1 << 20):
    return Lines(Range(io.BytesIO(data), start, stop, block), limit, start=start, stop=stop)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([b"", b"a", b"bb\r", b"\x00", b"c" * 9, b" "]), max_size=12), st.integers(1, 30),
       st.integers(1, 12), st.booleans())  # fmt: skip
def test_lines_any_splits_and_blocks_give_every_line_once(lines, split_bytes, block, ended):
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    expected = [
        (number, line.removesuffix(b"\r")) for number, line in enumerate(data.split(b"\n"), 1) if line.strip(b" \r")
    ]
    found, before = [], 0
    for start in range(0, len(data), split_bytes):
        reader = lines_of(data, start, min(start + split_bytes, len(data)), block=block)
        found += [(before + piece.line, piece.raw) for piece in reader]
        before += reader.count
    assert found == expected


@pytest.mark.fault(
    "a line is no record",
    how="a byte order mark, carriage returns, blank lines",
    holds="the records are read as without them",
)
def test_lines_byte_order_mark_and_carriage_returns_are_not_part_of_the_record():
    pieces = list(lines_of(b'\xef\xbb\xbf{"a":1}\r\n\r\n  {"b":2} \n'))
    assert [(piece.line, piece.raw) for piece in pieces] == [(1, b'{"a":1}'), (3, b'  {"b":2} ')]


@pytest.mark.parametrize("block", [1, 10, 1000])
def test_lines_at_the_limit_are_records_and_longer_ones_are_not(block):
    data = b"\xef\xbb\xbf" + b"a" * 100 + b"\r\n" + b"b" * 101 + b"\r\n" + b"c" * 100
    pieces = list(lines_of(data, block=block, limit=100))
    assert [(piece.line, piece.fault and piece.fault.kind) for piece in pieces] == [
        (1, None), (2, "record_too_large"), (3, None)
    ]  # fmt: skip


@pytest.mark.fault(
    "a record is too large or too deep",
    how="a line of 50 MB",
    holds="quarantined by the limit; less than 20 MB of memory",
)
def test_lines_of_fifty_megabytes_are_not_held():
    def blocks():
        yield b'{"a":1}\n'
        for _ in range(50):
            yield b"x" * (1 << 20)
        yield b'\n{"b":2}'

    tracemalloc.start()
    pieces = list(Lines(blocks(), 1 << 22))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [piece.line for piece in pieces] == [1, 2, 3]
    assert pieces[1].length == 50 << 20
    assert pieces[1].raw == b"x" * HEAD_BYTES
    assert "52,428,800 bytes, the limit is 4,194,304" in pieces[1].fault.message
    assert "--limit max_record_bytes=N" in pieces[1].fault.message
    assert peak < 20 << 20


def test_lines_of_an_unreadable_file_end_with_the_fault():
    def blocks():
        yield b"one\ntw"
        raise FileFault("truncated_file", "cut")

    assert [(p.line, p.raw, p.fault and p.fault.kind) for p in Lines(blocks(), 100)] == [
        (1, b"one", None), (2, b"tw", "truncated_file")
    ]  # fmt: skip
