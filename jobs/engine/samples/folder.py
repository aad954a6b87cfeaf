"""A pool as a folder: where the pool of some inputs lies, what its pool.json says, and what identifies it.

Nothing here starts Ray, so that a command can look before it does.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import fsspec

from jobs.engine.ingest import IngestSettings, ingest_key
from jobs.engine.ingest.files.inputs import Say, silent
from jobs.engine.samples.parts import Parts
from jobs.engine.store.store import Store, absolute
from jobs.engine.terminal.errors import UsageError


@dataclass(frozen=True)
class Samples:
    """The samples of a pool, as they lie in its folder; their ids are 0 … samples - 1."""

    folder: str
    facts: Mapping[str, Any]
    """What pool.json says: samples, records, fingerprint, sources, parts."""

    @classmethod
    def open(cls, folder: str) -> "Samples":
        """The samples in a folder that ingest wrote; UsageError where there is no pool."""
        folder = absolute(folder)
        if not is_pool(folder):
            raise UsageError(f"{folder} holds no pool: it has no pool.json. `winnow ingest` makes one")
        return cls(folder, facts_in(folder))

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.facts["samples"]

    @cached_property
    def parts(self) -> Parts:
        """The part files that hold them."""
        listed = self.facts["parts"]
        return Parts(self.folder, *(tuple(part[key] for part in listed) for key in ("file", "first", "rows")))

    def identity(self, of: Literal["conversation", "record"]) -> str:
        """What tells these samples from others, in hex: of what they say, or of the whole of their records."""
        return identity(self.facts, of)


def is_pool(path: str) -> bool:
    """Whether a path is a folder that ingest wrote."""
    fs, root = fsspec.core.url_to_fs(path)
    return fs.exists(f"{root}/pool.json")


def inputs_key(inputs: Sequence[str], store: Store, reading: IngestSettings) -> str:
    """What identifies what these inputs hold now: of raw files names, sizes and stamps, of a pool its fingerprint."""
    if len(inputs) == 1 and is_pool(inputs[0]):
        return facts_in(inputs[0])["fingerprint"]
    return ingest_key(inputs, reading, apart=store.url)


def ingested_folder(inputs: Sequence[str], store: Store, reading: IngestSettings, say: Say = silent) -> str:
    """Where the store keeps, or would keep, the pool of these raw files as they are now; says what is not read."""
    return f"{store.url}/pools/{ingest_key(inputs, reading, say, apart=store.url)[:16]}"


def known_facts(inputs: Sequence[str], store: Store, reading: IngestSettings) -> dict[str, Any]:
    """pool.json of the pool that the inputs are or were ingested to; empty where there is none yet. Starts nothing."""
    folder = inputs[0] if len(inputs) == 1 and is_pool(inputs[0]) else ingested_folder(inputs, store, reading)
    return facts_in(folder) if is_pool(folder) else {}


def identity(facts: Mapping[str, Any], of: Literal["conversation", "record"]) -> str:
    """What tells a pool with these facts from others, in hex: of what its samples say, or of their whole records."""
    name = {"conversation": "text_fingerprint", "record": "fingerprint"}[of]
    if name not in facts:
        raise UsageError(f"the pool has no {name}: it was made by another version of Winnow; ingest its files again")
    return facts[name]


def facts_in(folder: str) -> dict[str, Any]:
    """What pool.json in a folder says."""
    fs, root = fsspec.core.url_to_fs(folder)
    return json.loads(fs.cat_file(f"{root}/pool.json"))
