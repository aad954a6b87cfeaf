"""The objects of a .json file: the elements of an array, of the arrays in an object, or objects one after another.

Commas that are missing, doubled or last are accepted, as no record is lost by them.
"""

from collections.abc import Iterable, Iterator

from jobs.engine.ingest.faults import HEAD_BYTES, Piece, RecordFault
from jobs.engine.ingest.files.element import Element
from jobs.engine.ingest.files.text import Text
from jobs.engine.ingest.files.wrappers import Wrapped, wraps


class Elements:
    """Gives the elements of the text of a file, numbered from 1.

    array: of a file with several arrays the one to read, by its keys with dots in between; None for all of them, whose
    elements are then numbered on.
    """

    def __init__(self, blocks: Iterable[bytes], limit: int, array: str | None = None):
        self.text, self.array = Text(blocks, limit), array
        self.arrays: dict[str, int] = {}
        """The number of elements of each array in an object; complete after reading."""

    def __iter__(self) -> Iterator[Piece]:
        text = self.text
        head = text.head(HEAD_BYTES)
        if head[:1] == b"{" and wraps(head):
            yield from self._wrapped()
            return
        array = head[:1] == b"["
        text.begin += array
        while following := text.next_byte():
            if array and following == b"]":
                text.begin += 1
                yield from self._after_the_end("array")
                return
            text.index += 1
            yield Element(text).piece()
        yield from self._end(array)

    def _wrapped(self) -> Iterator[Piece]:
        wrapped, number = Wrapped(self.text), 0
        for array, piece in wrapped:
            if self.array is None and piece.line is not None:
                number += 1
                yield piece._replace(line=number)
            elif self.array in (None, array):
                yield piece
        self.arrays = dict(wrapped.counts)
        if self.array in (None, wrapped.array):
            self.text.index = number or self.text.index
            yield from self._after_the_end("object") if wrapped.closed else self._end(True)

    def _end(self, unclosed: bool) -> Iterator[Piece]:
        """Gives what is wrong where the text ends. unclosed: whether it ends inside an array or an object."""
        text = self.text
        if text.fault:
            yield Piece(None, b"", text.fault)
        elif unclosed and not text.reported_end:
            found = f"the array is not closed, the file may have been cut short: {text.index:,} elements were read"
            yield Piece(None, b"", RecordFault("truncated_file", found))

    def _after_the_end(self, what: str) -> Iterator[Piece]:
        """Gives what follows the end of the array or object in one piece, with its fault."""
        text, head, length = self.text, b"", 0
        more = bool(text.next_byte())
        while more:
            head = (head + text.buffer[text.begin :])[:HEAD_BYTES]
            length += text.unread()
            text.begin = len(text.buffer)
            more = text.more()
        if length or text.fault:
            fault = text.fault or RecordFault("malformed_json", f"{length:,} bytes follow the end of the {what}")
            yield Piece(text.index + 1 if length else None, head, fault, length if length > len(head) else None)
