"""An object that only wraps arrays of records: {"version": 1, "data": [...]} or {"train": [...], "test": [...]}.

It is found by the beginning of the file: an array of objects or of lists under one of the usual keys, and no field by
which a record is told.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from jobs.engine.ingest.faults import Piece
from jobs.engine.ingest.files.element import Element
from jobs.engine.ingest.files.held_out import split_named
from jobs.engine.ingest.files.text import Text
from jobs.engine.ingest.records.formats import FORMATS
from jobs.engine.ingest.records.messages import is_message

STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
KEY = re.compile(rb"[\s,]*(" + STRING + rb")\s*:\s*")
PLAIN = re.compile(STRING + rb"|[-+.\w]++")
OPENS = re.compile(rb"\[\s*[\[{]")
CLOSES = re.compile(rb"[\s,]*\}")
TOKEN = re.compile(STRING + rb'|["\[\]{}]', re.DOTALL)

WRAPPING = {"data", "rows", "examples", "instances", "samples", "records", "items", "dataset", "results", "entries"}
WRAPPING |= {"instructions"}
"""The keys under which an array of records is found."""
RECORD_FIELDS = {name for each in FORMATS for name in each.needs} | {"question", "answer"}
"""The fields by which a record is told."""
DEEPEST = 8


def wraps(head: bytes) -> bool:
    """Whether a text that begins with these bytes, a bracket first, is an object that only wraps arrays of records.

    An object with texts or numbers of its own is one if it stands alone, and if an array of it has another name than
    that of a split for tests: {"task": "sort", "test": [...]} is a task with its tests.
    """
    kinds, plain, at, above = set[str](), False, 1, list[str]()
    while key := KEY.match(head, at):
        name, at = _name(key.group(1)), key.end()
        if not above and name in RECORD_FIELDS:
            return False
        opening = head[at : at + 1]
        if opening == b"{" and len(above) < DEEPEST:
            above.append(name)
            at += 1
        else:
            held = not above or above[-1] in {*WRAPPING, "splits"}
            known = "data" if not above and name in WRAPPING else split_named(name)
            if held and known and _holds_records(head, at):
                kinds.add(known)
            plain = plain or (not above and opening != b"[")
            at = _after(head, at)
        while above and (close := CLOSES.match(head, at)):
            above.pop()
            at = close.end()
    end = CLOSES.match(head, at)
    several = end is not None and head[end.end() :].lstrip(b" \t\r\n,")[:1] == b"{"
    return bool(kinds) if not plain else bool(kinds - {"test"}) and not several


def _holds_records(head: bytes, at: int) -> bool:
    """Whether an array of objects or of lists begins here whose first element is no message of a conversation."""
    opens = OPENS.match(head, at)
    if not opens:
        return False
    begin = opens.end() - 1
    try:
        return not is_message(json.loads(head[begin : _after(head, begin)]))
    except (ValueError, RecursionError):  # the first element does not end in the head, or is broken
        return True


def _name(key: bytes) -> str:
    try:
        name = json.loads(key)
    except ValueError:  # an escape that is none, or no UTF-8
        name = key[1:-1].decode("utf-8", "replace")
    return name.encode("utf-8", "replace").decode()


def _after(head: bytes, at: int) -> int:
    """Returns where a value ends; the end of the head for one that does not end in it."""
    if head[at : at + 1] not in (b"[", b"{"):
        plain = PLAIN.match(head, at)
        return plain.end() if plain else len(head)
    depth = 0
    for token in TOKEN.finditer(head, at):
        if token.group() == b'"':  # the head ends in a string
            break
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end()
    return len(head)


class Found(NamedTuple):
    """An element of an array, and the name of the array: its keys, with dots in between."""

    array: str
    piece: Piece


class Wrapped:
    """Gives the elements of all arrays of records in the objects of a text, numbered from 1 in each array."""

    def __init__(self, text: Text):
        self.text = text
        self.counts: Counter[str] = Counter()
        self.array = ""
        """The array that was begun last: what is wrong afterwards is said of it."""
        self.closed = False
        """Whether all objects that were begun have ended."""

    def __iter__(self) -> Iterator[Found]:
        while self.text.next_byte() == b"{":
            self.closed = False
            yield from self._object()
            if not self.closed:
                return

    def _object(self) -> Iterator[Found]:
        text, above = self.text, list[str]()
        text.begin += 1
        while byte := text.next_byte():
            if byte == b"}":
                text.begin += 1
                if not above:
                    self.closed = True
                    return
                above.pop()
                continue
            key = Element(text).piece() if byte == b'"' else None
            if key and key.fault:
                yield Found(self.array, key._replace(line=None))
            colon = text.next_byte()
            if key is None or key.fault or colon not in (b":", b""):
                self.closed = True  # what follows is no object any more, as where one has ended
                return
            text.begin += len(colon)
            name = _name(key.raw)
            following = text.next_byte()
            if following == b"{":
                above.append(name)
                text.begin += 1
            elif following == b"[":
                yield from self._elements(".".join([*above, name]))
            elif following and (value := Element(text).piece()).fault:
                yield Found(self.array, value._replace(line=None))

    def _elements(self, array: str) -> Iterator[Found]:
        """Gives the elements of an array; of one of texts or numbers alone, none."""
        text, records = self.text, False
        text.begin += 1
        while (byte := text.next_byte()) and byte != b"]":
            records = records or byte in (b"{", b"[")
            if not records:
                Element(text).piece()
                continue
            self.array = array
            self.counts[array] += 1
            text.index = self.counts[array]
            yield Found(array, Element(text).piece())
        text.begin += bool(byte)
