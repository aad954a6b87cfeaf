"""The records in a tar archive: in its json members, one each as in a WebDataset, or many as in packed JSON lines."""

import tarfile
from collections.abc import Iterator
from itertools import chain
from typing import IO, BinaryIO

from jobs.engine.ingest.faults import FileFault, Piece
from jobs.engine.ingest.files.elements import Elements
from jobs.engine.ingest.files.forms import HEAD_BYTES, form_of, suffix_of, transcoded
from jobs.engine.ingest.files.lines import Lines
from jobs.engine.ingest.files.streams import BLOCK

READ = (".json", ".jsonl", ".ndjson")


class Members:
    """Gives the records in the json members of an archive, numbered from 1. Media and the like are not read.

    Other members with records, such as csv files, are named by a fault.
    """

    def __init__(self, file: BinaryIO, limit: int):
        self.file, self.limit = file, limit
        self.count = 0

    def __iter__(self) -> Iterator[Piece]:
        others: list[str] = []
        read = False
        try:
            with tarfile.open(fileobj=self.file, mode="r:*") as archive:
                for member in archive:
                    if not member.isfile() or member.name.rsplit("/", 1)[-1].startswith("."):
                        continue
                    opened = archive.extractfile(member) if member.name.lower().endswith(READ) else None
                    if opened:
                        read = True
                        yield from self._records(opened, member.name)
                    elif suffix_of(member.name):
                        others.append(member.name)
        except (tarfile.TarError, EOFError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            yield Piece(None, b"", FileFault("corrupt_file", f"not readable as a tar archive: {error}"))
            return
        if others:
            held = f"holds {len(others):,} files that are not read inside an archive, such as {others[0]}: unpack it"
            yield Piece(None, b"", FileFault("unknown_form", held))
        elif not read:
            yield Piece(None, b"", FileFault("unknown_form", "an archive without a json file"))

    def _records(self, opened: IO[bytes], name: str) -> Iterator[Piece]:
        first = opened.read(BLOCK)
        try:
            form = form_of(first[:HEAD_BYTES], name)
            if form is None or form.kind not in ("lines", "elements") or form.compression:
                raise FileFault("unknown_form", "no JSON")
        except FileFault as fault:
            yield Piece(None, b"", FileFault(fault.kind, f"{name}: {fault.message}"))
            return
        blocks = transcoded(chain([first], iter(lambda: opened.read(BLOCK), b"")), form.encoding)
        reader = Lines(blocks, self.limit) if form.kind == "lines" else Elements(blocks, self.limit)
        for piece in reader:
            self.count += piece.line is not None
            yield piece if piece.line is None else piece._replace(line=self.count)
