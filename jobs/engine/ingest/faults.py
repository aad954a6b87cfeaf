"""What can be wrong with an input, a file of it, or one record; and the piece of a file that a reader hands on."""

from typing import NamedTuple

from jobs.engine.terminal.errors import UsageError


class InputError(UsageError):
    """An input that cannot be ingested as it was named; the message names it and says what to do."""


class RecordFault(Exception):
    """Why one record is quarantined: a kind (a short word to count by) and a message for people."""

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class FileFault(RecordFault):
    """Why a file cannot be read on; the records before it are kept."""


class Piece(NamedTuple):
    """One record as it lies in its file, or what stands where a record should be, with the fault."""

    line: int | None
    """Counted from 1 within what the reader read; None where the fault is the whole file's."""

    raw: bytes
    fault: RecordFault | None = None

    length: int | None = None
    """The bytes there were, where `raw` holds only the first of them."""

    opaque: tuple[str, ...] = ()
    """The fields that hold bytes which are no text, where the file's format has such."""


HEAD_BYTES = 64 * 1024


def too_large(line: int, head: bytes, length: int, limit: int) -> Piece:
    """The piece for a record over the size limit, with the first 64 KiB of it."""
    found = f"the record has {length:,} bytes, {over('max_record_bytes', limit)}"
    return Piece(line, head[:HEAD_BYTES], RecordFault("record_too_large", found), length)


def over(name: str, limit: int) -> str:
    """What the message about a limit ends with: how high it is, and how to set another."""
    return f"the limit is {limit:,} ({name}); --limit {name}=N sets another"
