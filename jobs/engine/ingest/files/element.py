"""One element of a .json file, found without parsing.

Only strings and brackets are looked at. So an element costs a few searches, and the size limit bounds the memory. An
element may break the structure: a string may not end on its line, or a bracket may be closed by one of another kind.
Such an element is given with its fault. Reading goes on at the next line that begins an object after a comma, with the
indentation of the elements.
"""

import re

from jobs.engine.ingest.faults import HEAD_BYTES, Piece, RecordFault, too_large
from jobs.engine.ingest.files.text import OVERLAP, Text

TOKEN = re.compile(rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|["\[\]{}]')
STRING_REST = re.compile(rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+')
SCALAR = re.compile(rb'[^,\[\]{}"\n]*')
CLOSING = {ord("{"): ord("}"), ord("["): ord("]")}
QUOTE = ord('"')

UNCLOSED_STRING = "a string is not closed on its line"
RUNS_ON = "the element does not end before the next one begins"


class Element:
    """One element, read from the first byte that its file has not given yet. Positions are counted from there."""

    def __init__(self, file: Text):
        self.file = file
        self.stack = bytearray()
        """The closing bracket of each open one."""
        self.at = 0
        self.inside = False
        """Whether the rest begins inside a string, which happens only where bytes were dropped."""
        self.head = b""
        self.dropped = 0

    def piece(self) -> Piece:
        """Returns the element, with its fault if it has one. Its file then goes on after it."""
        file = self.file
        if file.buffer[file.begin] not in b'{["':
            return self._scalar()
        while True:
            end, broken = self._scanned()
            if end is not None:
                return self._taken(end)
            if broken:
                return self._broken("malformed_json", broken)
            if self.dropped or file.unread() > file.limit:
                if not self.dropped and self._next_object(1):
                    return self._broken("malformed_json", RUNS_ON)
                self._drop()
            if not file.more():
                # So far nothing contradicts the structure, so a later object counts as a part of this one.
                return self._last("truncated_file", "the file ends inside this element: it was cut short")

    def _scanned(self) -> tuple[int | None, str]:
        """Returns where the element ends, or what is wrong with it; (None, "") where more of the file is needed."""
        if self.inside and not self._leave_string():
            return None, self._string_fault()
        buffer, begin, stack = self.file.buffer, self.file.begin, self.stack
        for token in TOKEN.finditer(buffer, begin + self.at):
            start, end = token.span()
            byte = buffer[start]
            if byte == QUOTE:
                if end - start == 1:
                    self.at = start - begin
                    return None, UNCLOSED_STRING if buffer.find(b"\n", start) >= 0 else ""
            elif byte in CLOSING:
                stack.append(CLOSING[byte])
            elif not stack or stack.pop() != byte:
                return None, f"{chr(byte)} closes what it did not open"
            if not stack:
                return end - begin, ""
        self.at = len(buffer) - begin
        return None, ""

    def _leave_string(self) -> bool:
        """Moves behind the end of the string that began before. Returns False where it does not end here."""
        buffer, begin = self.file.buffer, self.file.begin
        rest = STRING_REST.match(buffer, begin)
        end = rest.end() if rest else begin
        self.at = end - begin
        if buffer[end : end + 1] != b'"':
            return False
        self.at, self.inside = self.at + 1, False
        return True

    def _string_fault(self) -> str:
        end = self.file.begin + self.at
        return UNCLOSED_STRING if b"\n" in self.file.buffer[end : end + 2] else ""

    def _drop(self) -> None:
        """Forgets the bytes of an element above the limit that were looked at, except for its head."""
        rest = self.file.buffer[self.file.begin :]
        self.inside = self.inside or self.at < len(rest)
        self.head = self.head or rest[:HEAD_BYTES]
        # A backslash must be seen together with the byte that it escapes, which was not read yet.
        keep = (len(rest) - len(rest.rstrip(b"\\"))) % 2 if self.inside else 0
        self.dropped += len(rest) - keep
        self.file.begin = len(self.file.buffer) - keep
        self.at = 0

    def _scalar(self) -> Piece:
        """Returns an element that is no string, array or object. It ends at a comma, bracket, quote or line end."""
        file = self.file
        while True:
            found = SCALAR.match(file.buffer, file.begin)
            end = found.end() - file.begin if found else 0
            if end < file.unread():
                return self._taken(max(1, end) if not self.dropped else end)
            if self.dropped or end > file.limit:
                self.head = self.head or file.buffer[file.begin : file.begin + HEAD_BYTES]
                self.dropped += end
                file.begin = len(file.buffer)
            if not file.more():
                return self._taken(file.unread())

    def _taken(self, end: int) -> Piece:
        file = self.file
        raw = file.buffer[file.begin : file.begin + end]
        file.begin += end
        if self.dropped + end > file.limit:
            return too_large(file.index, self.head or raw, self.dropped + end, file.limit)
        return Piece(file.index, raw.rstrip(b" \t\r\n"))

    def _next_object(self, begin: int) -> tuple[int, int] | None:
        """Returns where a later line begins an object after a comma, with the elements' indentation if known."""
        file = self.file
        indent = rb"[ \t]*" if file.indent is None else re.escape(file.indent)
        pattern = re.compile(rb",[ \t\r]*\n" + indent + rb"(?=\{)")
        found = pattern.search(file.buffer, file.begin + begin)
        return (found.start() - file.begin, found.end() - file.begin) if found else None

    def _broken(self, kind: str, message: str) -> Piece:
        """Returns the element up to the next one that can be told apart, or up to the end of the file."""
        file = self.file
        begin = 0 if self.dropped else 1
        while not (found := self._next_object(begin)):
            if self.dropped or file.unread() > file.limit:
                self.head = self.head or file.buffer[file.begin : file.begin + HEAD_BYTES]
                forgotten = max(0, file.unread() - OVERLAP)
                self.dropped += forgotten
                file.begin += forgotten
            begin = max(0 if self.dropped else 1, file.unread() - OVERLAP)
            if not file.more():
                return self._last(kind, message)
        raw = file.buffer[file.begin : file.begin + found[0]]
        file.begin += found[1]
        return self._faulty(raw, RecordFault(kind, message))

    def _last(self, kind: str, message: str) -> Piece:
        """Returns the rest of the file, where no other element can be told apart in it."""
        file = self.file
        raw = file.buffer[file.begin :].rstrip(b" \t\r\n") if not self.dropped else file.buffer[file.begin :]
        fault = file.fault or RecordFault(kind, message)
        file.buffer, file.begin, file.fault, file.reported_end = b"", 0, None, True
        return self._faulty(raw, fault)

    def _faulty(self, raw: bytes, fault: RecordFault) -> Piece:
        if not self.dropped:
            return Piece(self.file.index, raw, fault)
        return Piece(self.file.index, self.head, fault, self.dropped + len(raw))
