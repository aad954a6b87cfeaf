"""Errors of an input, of a file and of a record, and the piece of a file that a reader gives."""

from typing import NamedTuple

from jobs.engine.terminal.errors import UsageError


class InputError(UsageError):
    """An input cannot be ingested. The message names it and says what to do."""


class RecordFault(Exception):
    """Why a record is quarantined: a kind, which is a short word to count by, and a message for people."""

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class FileFault(RecordFault):
    """Why the rest of a file cannot be read. The records before that place are kept."""


class Piece(NamedTuple):
    """The bytes of one record in a file, or of what is there in place of a record, with the fault."""

    line: int | None
    """Counted from 1 from where the reader began. None for a fault of the whole file."""

    raw: bytes
    fault: RecordFault | None = None

    length: int | None = None
    """The number of bytes of the record, where `raw` holds only the first of them."""

    opaque: tuple[str, ...] = ()
    """The fields that hold bytes and not text, in a format that has such fields."""


HEAD_BYTES = 64 * 1024


def too_large(line: int, head: bytes, length: int, limit: int) -> Piece:
    """Returns the piece for a record above the size limit, with its first 64 KiB."""
    found = f"the record has {length:,} bytes, {over('max_record_bytes', limit)}"
    return Piece(line, head[:HEAD_BYTES], RecordFault("record_too_large", found), length)


def over(name: str, limit: int) -> str:
    """Returns the end of a message about a limit: the limit, and how to set another one."""
    return f"the limit is {limit:,} ({name}); --limit {name}=N sets another"
