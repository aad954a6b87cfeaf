"""The text of a file, a block at a time, and how far it was given."""

import re
from collections.abc import Iterable

from jobs.engine.ingest.faults import FileFault
from jobs.engine.ingest.files.lines import BOM

SEPARATORS = re.compile(rb"(?:[ \t\r\n,]|\xef\xbb\xbf)*")

# Longer than a comma, a line end and an indentation together, so that they are found across two blocks.
OVERLAP = 4096


class Text:
    """The text of a file, read as far as it is needed. The elements in it are numbered from 1."""

    def __init__(self, blocks: Iterable[bytes], limit: int):
        self.blocks, self.limit = iter(blocks), limit
        self.buffer, self.begin = b"", 0
        """The bytes that were read, and where among them the part begins that was not given yet."""
        self.index = 0
        """The number of the element that is read."""
        self.indent: bytes | None = None
        self.fault: FileFault | None = None
        self.reported_end = False
        """Whether an element was given with the fault that the file ends inside it."""

    def head(self, size: int) -> bytes:
        """Returns the first bytes of the part that was not given yet, without a mark."""
        while len(self.buffer) < size and self.more():
            pass
        self.begin = len(BOM) if self.buffer.startswith(BOM) else 0
        self.next_byte()
        return self.buffer[self.begin : self.begin + size]

    def more(self) -> bool:
        """Appends the next block to the bytes not given yet. Returns False at the end of what can be read."""
        try:
            block = next(self.blocks, None)
        except FileFault as fault:
            self.fault, block = fault, None
        if block is None:
            return False
        self.buffer, self.begin = self.buffer[self.begin :] + block, 0
        return True

    def unread(self) -> int:
        """Returns the number of bytes in the buffer that were not given yet."""
        return len(self.buffer) - self.begin

    def next_byte(self) -> bytes:
        """Skips white space and commas. Returns the next byte, or nothing at the end."""
        while True:
            skipped = SEPARATORS.match(self.buffer, self.begin)
            between = skipped.group() if skipped else b""
            if len(between) < self.unread():
                if b"\n" in between:
                    self.indent = between[between.rindex(b"\n") + 1 :]
                self.begin += len(between)
                return self.buffer[self.begin : self.begin + 1]
            self.begin = max(self.begin, len(self.buffer) - OVERLAP)
            if not self.more():
                self.buffer, self.begin = b"", 0
                return b""
