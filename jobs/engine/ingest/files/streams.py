"""The bytes of a file in blocks: of a byte range, or of the whole decompressed, hashed, with bounded memory."""

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import fsspec
import zstandard

from jobs.engine.ingest.faults import FileFault
from jobs.engine.ingest.settings import MIB

BLOCK = MIB
# Below this number of decompressed bytes a high ratio does no harm: the text only repeats itself.
EXPANSION_LOOKED_AT = 16 * MIB

# A zstd block of 4 bytes can stand for 128 KiB, and the decoder does not limit what one call returns.
ZSTD_FEED = 1024


def file_at(path: str) -> BinaryIO:
    """The open file at a path or URL. What begins with a slash is a local path, whatever else is in its name."""
    return (
        open(path, "rb")
        if path.startswith("/")
        else cast(BinaryIO, cast(fsspec.core.OpenFile, fsspec.open(path, "rb")).open())
    )


class Range:
    """Gives the blocks of an open file around [start, stop), and hashes that range.

    Reading begins one byte before `start`, if there is one. It goes on past `stop`, for readers that need the end of a
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
        """Returns the SHA-256 of the range, in hex. Reads the rest of the range first."""
        blocks = iter(self)
        while (self.stop is None or self.at < self.stop) and next(blocks, None):
            pass
        return self.hash.hexdigest()


def decompressed(blocks: Iterator[bytes], compression: str | None, max_expansion: int) -> Iterator[bytes]:
    """Gives the decompressed blocks. FileFault if the file is cut short, is of another kind, or expands too far."""
    if compression is None:
        yield from blocks
        return
    expand = {"gzip": _gunzipped, "zstd": _unzstandarded, "bz2": _unbz2, "xz": _unxz}[compression]
    bound = _Expansion(max_expansion)
    try:
        yield from expand(blocks, bound)
    except (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError) as error:
        if getattr(error, "errno", None) is not None:  # of the file system, and not of the bytes
            raise
        wide = "too much memory" in str(error)
        long = "; it was packed with a window above 128 MiB: repack it without --long" if wide else ""
        raise FileFault("corrupt_file", f"not readable as {compression}: {error}{long}") from None


class _Expansion:
    """Counts the bytes before and after decompression, and stops at the limit of their ratio."""

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


def _unbz2(blocks: Iterator[bytes], bound: _Expansion) -> Iterator[bytes]:
    return _stepwise(blocks, bound, bz2.BZ2Decompressor, "bz2")


def _unxz(blocks: Iterator[bytes], bound: _Expansion) -> Iterator[bytes]:
    return _stepwise(blocks, bound, lzma.LZMADecompressor, "xz")


def _stepwise(
    blocks: Iterator[bytes],
    bound: _Expansion,
    decompressor: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor],
    name: str,
) -> Iterator[bytes]:
    """Gives the blocks of the streams in a file, one after another, at most BLOCK bytes at a time."""
    decoder = None
    for block in blocks:
        bound.taken += len(block)
        while block:
            decoder = decompressor() if decoder is None or decoder.eof else decoder
            if data := decoder.decompress(block, BLOCK):
                yield bound.checked(data)
            while not decoder.eof and not decoder.needs_input:
                yield bound.checked(decoder.decompress(b"", BLOCK))
            block = decoder.unused_data.lstrip(b"\0") if decoder.eof else b""
    if decoder is not None and not decoder.eof:
        raise FileFault("truncated_file", f"the {name} file ends before its end mark: it was cut short")
