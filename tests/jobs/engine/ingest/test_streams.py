"""Decompression with bounds: `pytest tests/jobs/engine/ingest/test_streams.py`."""

import gzip
import hashlib
import io
import random

import pytest
import zstandard

from jobs.engine.ingest.faults import FileFault
from jobs.engine.ingest.files.streams import EXPANSION_LOOKED_AT, Range, decompressed

TEXT = random.Random(0).randbytes(300_000)
PACK = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


def unpacked(data, compression, block=1000, max_expansion=200):
    """What came out, and the fault if there was one."""
    given = b""
    try:
        for piece in decompressed(iter(Range(io.BytesIO(data), block=block)), compression, max_expansion):
            given += piece
    except FileFault as fault:
        return given, fault
    return given, None


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("block", [1, 999, 1 << 20])
def test_decompressed_several_members_are_one_text(compression, block):
    data = PACK[compression](TEXT[:5000]) + PACK[compression](b"") + PACK[compression](TEXT[5000:9000])
    assert unpacked(data, compression, block) == (TEXT[:9000], None)


@pytest.mark.parametrize("compression", PACK)
def test_decompressed_cut_file_gives_what_can_be_read(compression):
    given, fault = unpacked(PACK[compression](TEXT)[:-50_000], compression)
    assert fault.kind == "truncated_file"
    assert "ends before its end mark: it was cut short" in fault.message
    assert TEXT.startswith(given)
    assert len(given) > 100_000


@pytest.mark.parametrize("compression", PACK)
def test_decompressed_file_of_another_kind_is_corrupt(compression):
    given, fault = unpacked(b'{"instruction": "not compressed"}', compression)
    assert (given, fault.kind) == (b"", "corrupt_file")
    assert f"not readable as {compression}" in fault.message


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.fault(
    "a record is too large or too deep",
    how="a compressed file that expands without end",
    holds="reading stops at the bound",
)
def test_decompressed_bomb_stops_at_the_bound(compression):
    given, fault = unpacked(PACK[compression](bytes(EXPANSION_LOOKED_AT * 4)), compression, 1 << 20, 20)
    assert fault.kind == "expansion_too_large"
    assert "over 20 times as many (max_expansion); --limit max_expansion=N" in fault.message
    assert len(given) <= EXPANSION_LOOKED_AT


@pytest.mark.parametrize("compression", PACK)
def test_decompressed_nothing_is_nothing(compression):
    assert unpacked(b"", compression) == (b"", None)


def test_range_digest_covers_exactly_the_range_however_little_was_read():
    for start, stop in [(0, 100), (100, 5000), (5000, 300_000), (7, 7)]:
        part = Range(io.BytesIO(TEXT), start, stop, block=64)
        next(iter(part))
        assert part.digest() == hashlib.sha256(TEXT[start:stop]).hexdigest()
