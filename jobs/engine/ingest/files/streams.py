"""A file's bytes in blocks: a byte range or a decompressed whole, hashed on the way, with bounded memory."""

import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import zstandard

from jobs.engine.ingest.faults import FileFault
from jobs.engine.ingest.settings import MIB

BLOCK = MIB
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

# Below this many bytes out a high ratio is only repetitive text and harms nobody.
EXPANSION_LOOKED_AT = 16 * MIB

# A zstd block of 4 bytes can stand for 128 KiB, and the decoder has no bound of its own on what one call gives.
ZSTD_FEED = 1024


class Range:
    """The blocks of an open file around [start, stop), that range hashed.

    Reading begins one byte before `start`, where there is one, and goes on past `stop` for who wants the end of a
    line that begins before it.
    """

    def __init__(self, file: BinaryIO, start: int = 0, stop: int | None = None, block: int = BLOCK):
        self.file, self.start, self.stop, self.block = file, start, stop, block
        self.at = max(0, start - 1)
        self.hash = hashlib.sha256()
        file.seek(self.at)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.file.read(self.block):
            begin = max(0, self.start - self.at)
            end = len(data) if self.stop is None else max(0, self.stop - self.at)
            self.hash.update(data[begin:end])
            self.at += len(data)
            yield data

    def digest(self) -> str:
        """The SHA-256 of the range, in hex; reads what was not read of it."""
        blocks = iter(self)
        while (self.stop is None or self.at < self.stop) and next(blocks, None):
            pass
        return self.hash.hexdigest()


def decompressed(blocks: Iterator[bytes], compression: str | None, max_expansion: int) -> Iterator[bytes]:
    """The blocks as text; FileFault where the file is cut short, is not what its name says, or is a bomb."""
    if compression is None:
        yield from blocks
        return
    expand = {"gzip": _gunzipped, "zstd": _unzstandarded}[compression]
    bound = _Expansion(max_expansion)
    try:
        yield from expand(blocks, bound)
    except (zlib.error, zstandard.ZstdError) as error:
        raise FileFault("corrupt_file", f"not readable as {compression}: {error}") from None


class _Expansion:
    """Counts what went in and came out, and stops a bomb."""

    def __init__(self, limit: int):
        self.limit, self.taken, self.given = limit, 0, 0

    def checked(self, data: bytes) -> bytes:
        self.given += len(data)
        if self.given > max(EXPANSION_LOOKED_AT, self.limit * self.taken):
            raise FileFault(
                "expansion_too_large",
                f"{self.taken:,} bytes of the file became more than {self.given:,}, over {self.limit} times as many "
                "(max_expansion); --limit max_expansion=N allows more",
            )
        return data


def _gunzipped(blocks: Iterator[bytes], bound: _Expansion) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    for block in blocks:
        bound.taken += len(block)
        while block:
            if decoder.eof:
                # Another member may follow, and so may padding with zeros, which gzip ignores as well.
                block = block.lstrip(b"\0")
                if not block:
                    break
                decoder = zlib.decompressobj(wbits=31)
            if data := decoder.decompress(block, BLOCK):
                yield bound.checked(data)
            block = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        while not decoder.eof and (data := decoder.decompress(b"", BLOCK)):
            yield bound.checked(data)
    if bound.taken and not decoder.eof:
        raise FileFault("truncated_file", "the gzip file ends before its end mark: it was cut short")


def _unzstandarded(blocks: Iterator[bytes], bound: _Expansion) -> Iterator[bytes]:
    decoder = None
    for block in blocks:
        for at in range(0, len(block), ZSTD_FEED):
            feed = block[at : at + ZSTD_FEED]
            bound.taken += len(feed)
            while feed:
                if decoder is None or decoder.eof:
                    decoder = zstandard.ZstdDecompressor().decompressobj()
                if data := decoder.decompress(feed):
                    yield bound.checked(data)
                feed = decoder.unused_data if decoder.eof else b""
    if decoder is not None and not decoder.eof:
        raise FileFault("truncated_file", "the zstd file ends before its end mark: it was cut short")
