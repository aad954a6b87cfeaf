"""The lines of a .jsonl file, or of a byte range of it. The size limit bounds the memory, however long a line is."""

from collections.abc import Iterable, Iterator

from jobs.engine.ingest.faults import HEAD_BYTES, FileFault, Piece, too_large

BOM = b"\xef\xbb\xbf"


class Lines:
    """Gives the lines that begin in [start, stop), numbered from 1. Blank lines are counted and not given.

    `blocks` are the bytes of the file from `start` on, or from one byte before it where `start` is not 0. That byte
    tells a line that begins at `start` from a line that goes on there.
    """

    def __init__(self, blocks: Iterable[bytes], limit: int, *, start: int = 0, stop: int | None = None):
        self.blocks, self.limit, self.start = blocks, limit, start
        self.stop = float("inf") if stop is None else stop
        self.count = 0
        self.at = max(0, start - 1)
        """Where in the file the next line begins."""
        self.held = b""
        """The beginning of a line whose end was not read yet; only its head if it is above the limit."""
        self.length = 0
        """The number of bytes of that line so far, if it is above the limit; else 0."""

    def __iter__(self) -> Iterator[Piece]:
        try:
            for block in self._from_first_line():
                yield from self._whole_lines(block)
                if self.at >= self.stop:
                    return
        except FileFault as fault:
            yield self._unreadable(fault)
            return
        if self.held and self.at < self.stop:
            yield from self._line(self.held, self.length or len(self.held))

    def _from_first_line(self) -> Iterator[bytes]:
        """Gives the blocks without the end of a line that began before `start`."""
        found = self.start == 0
        for block in self.blocks:
            if found:
                yield block
                continue
            end = block.find(b"\n")
            found = end >= 0
            self.at += end + 1 if found else len(block)
            if self.at >= self.stop:
                return
            if found:
                yield block[end + 1 :]

    def _whole_lines(self, block: bytes) -> Iterator[Piece]:
        end = block.find(b"\n")
        if end < 0:
            self._hold(block)
            return
        if self.length:
            yield from self._line(self.held, self.length + end)
            self.held, self.length, block = b"", 0, block[end + 1 :]
        *lines, rest = (self.held + block).split(b"\n")
        self.held = b""
        for line in lines:
            if self.at >= self.stop:
                return
            yield from self._line(line, len(line))
        self._hold(rest)

    def _hold(self, more: bytes) -> None:
        if self.length:
            self.length += len(more)
            return
        self.held += more
        # A line at the limit may still have a byte order mark before it and a carriage return after it.
        if len(self.held) > self.limit + len(BOM) + 1:
            self.length = len(self.held)
            self.held = self.held[:HEAD_BYTES]

    def _line(self, raw: bytes, length: int) -> Iterator[Piece]:
        self.at += length + 1
        self.count += 1
        if raw.startswith(BOM):  # not only in the first line: files are put together of several
            raw, length = raw[len(BOM) :], length - len(BOM)
        if raw.endswith(b"\r") and len(raw) == length:
            raw, length = raw[:-1], length - 1
        if raw[-1:] == b"," and raw[:1] == b"{" and len(raw) == length:  # the lines of an array
            raw, length = raw[:-1], length - 1
        if length > self.limit:
            yield too_large(self.count, raw, length, self.limit)
        elif raw and not raw.isspace():
            yield Piece(self.count, raw)

    def _unreadable(self, fault: FileFault) -> Piece:
        """Returns the piece for the unreadable rest of a file: the line in which it breaks, if one has begun."""
        if not self.held:
            return Piece(None, b"", fault)
        self.count += 1
        return Piece(self.count, self.held, fault, self.length or None)
