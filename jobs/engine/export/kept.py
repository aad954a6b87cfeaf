"""The kept samples of a finished run, read from its own folder: the pool that they are from may be gone."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.engine.ingest import RecordFault, settings_of
from jobs.engine.ingest.records.contents import media_in
from jobs.engine.ingest.records.formats import read
from jobs.engine.ingest.records.records import record_of
from jobs.engine.outcome.manifest import finished_manifest
from jobs.engine.outcome.selected import FILE
from jobs.engine.samples.pool_folder import facts_in, is_pool
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import NothingSelected, UsageError, WinnowError
from operators.sample import Message

NESTING = 10_000
"""The most levels of a kept record. It was read before, with a limit of its own."""


class KeptSample(NamedTuple):
    """A kept sample, and where its record is."""

    line: int
    """The line in selected.jsonl, from 1: the rank of the sample."""
    record: dict[str, Any]
    messages: list[Message]
    media: Mapping[str, int]
    """The number of its images, audios and videos, which are in the record alone."""


@dataclass(frozen=True)
class Kept:
    """The kept samples of a run, best first."""

    folder: Folder
    manifest: Mapping[str, Any]
    columns: Mapping[str, str]
    """The field of each role, where the records were read by named fields; else empty."""

    @classmethod
    def of(cls, folder: Folder, columns: Mapping[str, str] | None = None) -> "Kept":
        """The kept samples of the run in a folder.

        columns: the field of each role; None for those with which the run, or the ingest of its pool, read them.
        UsageError where there is no selection, WinnowError where the run has not finished, NothingSelected where it
        kept nothing.
        """
        manifest = finished_manifest(folder)
        if "winnow_manifest" not in manifest or not folder.exists(FILE):
            raise UsageError(f"{folder} holds no selection: `winnow curate` writes one, with its {FILE}")
        if not manifest["counts"]["kept"]:
            raise NothingSelected(f"the run in {folder} kept nothing")
        return cls(
            folder, manifest, _columns(manifest) if columns is None else settings_of({"columns": columns}).columns
        )

    @property
    def name(self) -> str:
        """A name for the samples as a data set, of the recipe that selected them."""
        return f"winnow_{self.manifest['run']['recipe']}"

    @property
    def count(self) -> int:
        """The number of kept samples."""
        return self.manifest["counts"]["kept"]

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The record of each line of selected.jsonl, with the number of the line. WinnowError where one is damaged."""
        line = 0
        with self.folder.reading(FILE) as file:
            for line, raw in enumerate(file, 1):
                try:
                    yield line, record_of(raw.rstrip(b"\n"), NESTING)
                except RecordFault as fault:
                    raise self._unreadable(line, fault) from None
        if line != self.count:
            raise WinnowError(
                f"{self.folder}/{FILE} has {line:,} records, and the run kept {self.count:,}; run it again"
            )

    def samples(self) -> Iterator[KeptSample]:
        """The samples, best first. WinnowError where a record cannot be read as the run read it."""
        for line, record in self.records():
            try:
                found = read(record, self.columns)
            except RecordFault as fault:
                raise self._unreadable(line, fault) from None
            yield KeptSample(line, record, found.messages, media_in(record, found.more))

    def _unreadable(self, line: int, fault: RecordFault) -> WinnowError:
        return WinnowError(f"{self.folder}/{FILE}:{line}: {fault}")


def _columns(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """The columns that the run was given, or else those of its pool; none where the pool is gone."""
    given = manifest["run"].get("reading") or {}
    pool = manifest["pool"]["folder"]
    try:
        settings = given if "columns" in given or not is_pool(pool) else facts_in(pool).get("settings") or {}
    except (OSError, json.JSONDecodeError):
        settings = {}
    return settings.get("columns") or {}
