"""The objects of a .json file: the elements of an array, or objects one after another, found without parsing.

Only strings and brackets are looked at. So an element costs a few searches, and the size limit bounds the memory. An
element may break the structure: a string may not end on its line, or a bracket may be closed by one of another kind.
Such an element is given with its fault. Reading goes on at the next line that begins an object after a comma, with the
indentation of the elements. Commas that are missing, doubled or last are accepted, as no record is lost by them.
"""

import re
from collections.abc import Iterable, Iterator

from jobs.engine.ingest.faults import HEAD_BYTES, FileFault, Piece, RecordFault, too_large
from jobs.engine.ingest.files.lines import BOM

TOKEN = re.compile(rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|["\[\]{}]')
STRING_REST = re.compile(rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+')
SEPARATORS = re.compile(rb"(?:[ \t\r\n,]|\xef\xbb\xbf)*")
SCALAR = re.compile(rb'[^,\[\]{}"\n]*')
TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
FIELD = TEXT + rb"\s*:\s*(?:" + TEXT + rb"|[-+.\w]++|\{[^{}\[\]]*+\})"
"""A field whose value is a text, a number or a flat object."""
WRAPPING = rb'"(?:data|rows|examples|instances|samples|records|items|dataset|train|results|entries|instructions)"'
WRAPPER = re.compile(rb"\{(?:\s*" + FIELD + rb"\s*,)*+\s*" + WRAPPING + rb"\s*:\s*\[(?=\s*[\[{])")
"""The beginning of an object that only wraps an array: fields about it, then one of the usual keys."""
UNWRAPPED = re.compile(rb"(?:\s*,?\s*" + FIELD + rb")*+\s*\}\s*")
"""The rest of such an object."""
FOLLOWING_KEY = re.compile(rb"\s*,?\s*(" + TEXT + rb")\s*:")
CLOSING = {ord("{"): ord("}"), ord("["): ord("]")}
QUOTE = ord('"')

# Longer than a comma, a line end and an indentation together, so that they are found across two blocks.
OVERLAP = 4096

UNCLOSED_STRING = "a string is not closed on its line"
RUNS_ON = "the element does not end before the next one begins"


class Elements:
    """Gives the elements of the text of a file, numbered from 1."""

    def __init__(self, blocks: Iterable[bytes], limit: int):
        self.blocks, self.limit = iter(blocks), limit
        self.buffer, self.begin = b"", 0
        """The bytes that were read, and where among them the part begins that was not given yet."""
        self.index = 0
        self.indent: bytes | None = None
        self.fault: FileFault | None = None
        self.reported_end = False
        """Whether an element was given with the fault that the file ends inside it."""

    def __iter__(self) -> Iterator[Piece]:
        while len(self.buffer) < len(BOM) and self.more():
            pass
        self.begin = len(BOM) if self.buffer.startswith(BOM) else 0
        array = self._next_byte() == b"["
        if wrapped := self._wrapper():
            self.begin += wrapped
            array = True
        else:
            self.begin += array
        while following := self._next_byte():
            if array and following == b"]":
                self.begin += 1
                yield from self._after_the_end(bool(wrapped))
                return
            self.index += 1
            yield Element(self).piece()
        if self.fault:
            yield Piece(None, b"", self.fault)
        elif array and not self.reported_end:
            unclosed = f"the array is not closed, the file may have been cut short: {self.index:,} elements were read"
            yield Piece(None, b"", RecordFault("truncated_file", unclosed))

    def _wrapper(self) -> int:
        """Returns the number of bytes of an object's beginning that only wraps an array, its bracket included; or 0."""
        found = WRAPPER.match(self.buffer, self.begin)
        return found.end() - self.begin if found else 0

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

    def _next_byte(self) -> bytes:
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

    def _after_the_end(self, wrapped: bool) -> Iterator[Piece]:
        head, length = b"", 0
        more = bool(self._next_byte())
        while more:
            head = (head + self.buffer[self.begin :])[:HEAD_BYTES]
            length += self.unread()
            self.begin = len(self.buffer)
            more = self.more()
        if wrapped and length <= HEAD_BYTES and UNWRAPPED.fullmatch(head):
            return
        if length or self.fault:
            key = FOLLOWING_KEY.match(head) if wrapped else None
            more = (
                f", beginning with {key.group(1).decode('utf-8', 'replace')}: one array is read of a file"
                if key
                else ""
            )
            fault = self.fault or RecordFault("malformed_json", f"{length:,} bytes follow the end of the array{more}")
            yield Piece(self.index + 1 if length else None, head, fault, length if length > len(head) else None)


class Element:
    """One element, read from the first byte that its file has not given yet. Positions are counted from there."""

    def __init__(self, file: Elements):
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
