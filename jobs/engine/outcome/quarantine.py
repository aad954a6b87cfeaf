"""Writes quarantine.jsonl: the records that ingest quarantined, then the samples that an operator failed on, by id."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.outcome.decided import decided
from jobs.engine.outcome.failures import Errors
from jobs.engine.pool.selection import Selection
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.folder import Folder

FILE = "quarantine.jsonl"
BLOCK_BYTES = 1 << 20


def quarantined(folder: Folder) -> Iterator[dict[str, Any]]:
    """The records in the quarantine.jsonl of a pool or of a run, one after another."""
    with folder.reading(FILE) as file:
        for line in file:
            yield json.loads(line)


def write_quarantine(parts: Parts, chosen: Selection, errors: Errors, out: Folder, tasks: Tasks) -> None:
    """Writes quarantine.jsonl; parts: those of the pool that the selection is from."""
    slices = decided(parts, chosen) if errors.some else ()
    calls = [(each.parts, each.kept, errors, f"failed-{number:06d}") for number, each in enumerate(slices)]
    pieces = [name for name in tasks.results("looked through", _write_failed, calls) if name]
    fetched(tasks.started(_join, Folder(parts.folder), errors.folder, pieces, out))


def _write_failed(parts: Parts, kept: np.ndarray, errors: Errors, name: str) -> str:
    """Writes the failed samples of some parts, a line each. Returns the name of the file; empty where none failed."""
    failed, texts = errors.failed(parts.ids(), kept)
    if not len(failed):
        return ""
    reasons = iter(texts.to_pylist())
    with errors.folder.writing(name) as out:
        for table in read_samples(parts, failed, ["id", "source", "line", "raw"]):
            for row in table.to_pylist():
                raw = row.pop("raw").decode()
                column, _, message = next(reasons).partition(": ")
                record = {**row, "reason": column, "message": message, "raw": raw}
                out.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    return name


def _join(pool: Folder, interim: Folder, pieces: list[str], out: Folder) -> None:
    """Writes the quarantine of the pool and the pieces, one after another."""
    with out.writing(FILE) as joined:
        for folder, name in ((pool, FILE), *((interim, piece) for piece in pieces)):
            with folder.reading(name) as file:
                while block := file.read(BLOCK_BYTES):
                    joined.write(block)
