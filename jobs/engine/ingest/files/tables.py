"""The records of a csv file, as JSON: one per row, with the names of its header."""

import csv
import io
import json
from collections.abc import Iterable, Iterator

from jobs.engine.ingest.faults import HEAD_BYTES, FileFault, Piece, RecordFault, too_large

ROW_SHOWN = 200
NOT_UTF_8 = "surrogateescape"
"""How bytes that are not UTF-8 are held in a text, and written back."""


class Table:
    """Gives the rows of a csv file, numbered by the line on which each ends. Values are texts.

    Bytes that are not UTF-8 are in the row as they are: whoever reads its JSON text refuses that row alone.
    """

    def __init__(self, blocks: Iterable[bytes], limit: int, delimiter: str):
        self.blocks, self.limit, self.delimiter = blocks, limit, delimiter

    def __iter__(self) -> Iterator[Piece]:
        csv.field_size_limit(self.limit)
        lines = _Text(self.blocks)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            repeated = next((name for name in header if header.count(name) > 1), None)
            if repeated is not None:
                raise FileFault("duplicate_column", f"there are two columns {repeated!r}; rename or drop one of them")
            if not _is_text("".join(header)):
                raise FileFault("invalid_utf8", "the names of the columns are not UTF-8: save the file as UTF-8")
            while True:
                lines.held.clear()
                try:
                    row = next(reader, None)
                except csv.Error as error:
                    yield self._broken(lines.held, reader.line_num, error)
                    continue
                if row is None:
                    return
                if row:
                    yield self._piece(header, row, reader.line_num)
        except csv.Error as error:
            yield Piece(reader.line_num, b"", FileFault("corrupt_file", f"not readable as csv: {error}"))
        except FileFault as fault:
            yield Piece(None, b"", fault)

    def _broken(self, held: list[str], line: int, error: csv.Error) -> Piece:
        """Returns the piece for a row that is no csv. The next row begins on the line after it."""
        raw = "".join(held).encode("utf-8", NOT_UTF_8)
        found = f"not readable as csv: {error}"
        if len(held) > 1:
            found += f"; a quote that is opened on line {line - len(held) + 1:,} may not be closed"
        return Piece(line, raw[:HEAD_BYTES], RecordFault("malformed_csv", found), len(raw))

    def _piece(self, header: list[str], row: list[str], line: int) -> Piece:
        record = dict(zip(header, row, strict=False))
        raw = json.dumps(record, ensure_ascii=False).encode("utf-8", NOT_UTF_8)
        if len(row) != len(header):
            found = (
                f"the row has {len(row)} fields, and the header {len(header)}: {self.delimiter.join(row)[:ROW_SHOWN]!r}"
            )
            return Piece(line, raw, RecordFault("ragged_row", found))
        return too_large(line, raw, len(raw), self.limit) if len(raw) > self.limit else Piece(line, raw)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Text(Iterator[str]):
    """The lines of blocks of bytes, decoded. Quoted fields may hold line ends, so each line keeps its own."""

    def __init__(self, blocks: Iterable[bytes]):
        self.held: list[str] = []
        """The lines that were given since this was emptied."""
        self.reader = io.TextIOWrapper(io.BufferedReader(_Raw(blocks)), "utf-8-sig", NOT_UTF_8, newline="")

    def __next__(self) -> str:
        if line := self.reader.readline():
            self.held.append(line)
            return line
        raise StopIteration


class _Raw(io.RawIOBase):
    def __init__(self, blocks: Iterable[bytes]):
        self.blocks, self.held = iter(blocks), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self.held:
            block = next(self.blocks, None)
            if block is None:
                return 0
            self.held = block
        taken, self.held = self.held[: len(buffer)], self.held[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
