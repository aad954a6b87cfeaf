"""Records that could not become samples: one JSON object per line, with the bytes as they were in the file.

While a split is read, its line numbers are relative. So a line of an interim file is the number, a tab, and the rest of
the object. The join puts the source and the absolute number before the rest, without parsing it again.
"""

import base64
import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from jobs.engine.ingest.faults import Piece, RecordFault


def interim_line(piece: Piece, fault: RecordFault) -> bytes:
    """Returns the line of the interim file for a piece with a fault."""
    cut = piece.length is not None and piece.length > len(piece.raw)
    entry: dict[str, Any] = {"reason": fault.kind, "message": fault.message}
    text = _text(piece.raw, cut)
    if text is None:
        entry["raw_base64"] = base64.b64encode(piece.raw).decode("ascii")
    else:
        entry["raw"] = text
    if cut:
        entry |= {"raw_bytes": piece.length, "raw_cut": True}
    number = b"" if piece.line is None else b"%d" % piece.line
    return number + b"\t" + _encoded(entry)[1:] + b"\n"


def final_lines(interim: Iterable[bytes], uri: str, lines_before: int) -> Iterator[bytes]:
    """Gives the lines of quarantine.jsonl for those of one interim file."""
    source = _encoded({"source": uri})[:-1]
    for line in interim:
        number, rest = line.split(b"\t", 1)
        absolute = b"%d" % (int(number) + lines_before) if number else b"null"
        yield source + b', "line": ' + absolute + b", " + rest


def _text(raw: bytes, cut: bool) -> str | None:
    """Returns the bytes as text, without a character that the cut splits; None if they are not UTF-8."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(raw, final=not cut)
    except UnicodeDecodeError:
        return None


def _encoded(entry: dict[str, Any]) -> bytes:
    # Half of a surrogate pair, for instance in the name of a field, becomes its JSON escape again.
    return json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace")


class Quarantine:
    """Writes an interim file of quarantined records, and counts them by kind."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.kinds: dict[str, int] = {}

    def add(self, piece: Piece, fault: RecordFault) -> None:
        """Writes one piece."""
        self.kinds[fault.kind] = self.kinds.get(fault.kind, 0) + 1
        self.file.write(interim_line(piece, fault))
