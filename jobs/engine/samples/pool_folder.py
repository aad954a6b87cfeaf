"""The folder of a pool: its path for some inputs, the content of its pool.json, and its fingerprints.

Nothing here starts Ray, so commands can use it before they start Ray.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from jobs.engine.ingest import IngestSettings, ingest_key
from jobs.engine.ingest.files.inputs import Say, silent
from jobs.engine.samples.reading import Parts
from jobs.engine.store.folder import opened
from jobs.engine.store.store import Store, absolute
from jobs.engine.terminal.errors import UsageError

FACTS = frozenset(("samples", "fingerprint", "parts"))
"""What every pool.json has, among more."""


@dataclass(frozen=True)
class Samples:
    """The samples of a pool in its folder; their ids are 0 … samples - 1."""

    folder: str
    facts: Mapping[str, Any]
    """The content of pool.json: samples, records, fingerprint, sources, parts and more."""

    @classmethod
    def open(cls, folder: str) -> "Samples":
        """The samples in a folder that ingest wrote; UsageError where there is no pool."""
        folder = absolute(folder)
        if not is_pool(folder):
            raise UsageError(f"{folder} is not a pool: it has no pool.json. `winnow ingest` makes a pool")
        return cls(folder, facts_in(folder))

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.facts["samples"]

    @cached_property
    def parts(self) -> Parts:
        """The part files of the samples."""
        listed = self.facts["parts"]
        return Parts(self.folder, *(tuple(part[key] for part in listed) for key in ("file", "first", "rows")))

    def identity(self, of: Literal["conversation", "record"]) -> str:
        """The fingerprint of the samples' messages, or of their whole records, as `identity` returns it."""
        return identity(self.facts, of)


def is_pool(path: str) -> bool:
    """Whether a path is the folder of a pool: whether it has a pool.json."""
    if os.path.isfile(path):
        return False
    fs, root = opened(path)
    return fs.exists(f"{root}/pool.json")


def refuse_reading_again(inputs: Sequence[str], reading: IngestSettings) -> None:
    """UsageError where the input is a pool, and there are settings for reading raw files."""
    if inputs and is_pool(inputs[0]) and reading != IngestSettings(answers=reading.answers):
        raise UsageError(
            f"{inputs[0]} is a pool, which is ingested already: --columns, --limit, --ignore, --pairs, "
            "--near-duplicates, --decontaminate and --mix are for raw files"
        )


def inputs_key(inputs: Sequence[str], store: Store, reading: IngestSettings) -> str:
    """A key of the current content of the inputs.

    The key of raw files follows from their names, sizes and time stamps. The key of a pool is its fingerprint.
    """
    if len(inputs) == 1 and is_pool(inputs[0]):
        return facts_in(inputs[0])["fingerprint"]
    return ingest_key(inputs, reading, apart=store.url)


def ingested_folder(inputs: Sequence[str], store: Store, reading: IngestSettings, say: Say = silent) -> str:
    """The folder in the store for the pool of these raw files, whether it exists or not.

    say: called with a line about what is not read.
    """
    return f"{store.url}/pools/{ingest_key(inputs, reading, say, apart=store.url)[:16]}"


def known_facts(inputs: Sequence[str], store: Store, reading: IngestSettings) -> dict[str, Any]:
    """The content of pool.json for these inputs, a pool or raw files; empty where they are not ingested yet."""
    folder = inputs[0] if len(inputs) == 1 and is_pool(inputs[0]) else ingested_folder(inputs, store, reading)
    return facts_in(folder) if is_pool(folder) else {}


def identity(facts: Mapping[str, Any], of: Literal["conversation", "record"]) -> str:
    """The fingerprint of a pool, in hex; facts: the content of its pool.json.

    of: conversation, the fingerprint of the samples' messages; record, that of their whole records. UsageError where
    the pool has none.
    """
    name = {"conversation": "text_fingerprint", "record": "fingerprint"}[of]
    if name not in facts:
        raise UsageError(f"the pool has no {name}: another version of Winnow made it; ingest its files again")
    return facts[name]


def facts_in(folder: str) -> dict[str, Any]:
    """The content of pool.json in a folder. UsageError where another program wrote it."""
    fs, root = opened(folder)
    try:
        found = json.loads(fs.cat_file(f"{root}/pool.json"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() >= FACTS:
        raise UsageError(
            f"{folder}/pool.json is not of a pool that `winnow ingest` made. If it has records, name the files of the "
            "folder instead, or give this one another name"
        )
    return found
