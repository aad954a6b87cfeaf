"""The records of a WebDataset: the json members of a tar archive, in order."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from jobs.engine.ingest.faults import FileFault, Piece, too_large


class Members:
    """Gives the json members of an archive, numbered from 1. Other members, such as images, are not read."""

    def __init__(self, file: BinaryIO, limit: int):
        self.file, self.limit = file, limit
        self.count = 0

    def __iter__(self) -> Iterator[Piece]:
        try:
            with tarfile.open(fileobj=self.file, mode="r:*") as archive:
                for member in archive:
                    if not member.isfile() or not member.name.lower().endswith(".json"):
                        continue
                    self.count += 1
                    opened = archive.extractfile(member)
                    raw = opened.read(self.limit + 1) if opened else b""
                    if member.size > self.limit:
                        yield too_large(self.count, raw, member.size, self.limit)
                    else:
                        yield Piece(self.count, raw.strip())
        except (tarfile.TarError, EOFError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            yield Piece(None, b"", FileFault("corrupt_file", f"not readable as a tar archive: {error}"))
