"""The outcome of a run: what it decided, in which pool, and where it lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection


@dataclass(frozen=True)
class Outcome:
    """What a run decided and what it will write, or has written, into its folder."""

    folder: Path
    pool: Pool
    selection: Selection
    counts: Mapping[str, int]
    """The number of records per state: kept, dropped, duplicate, quarantined."""
    failed: Mapping[int, str]
    """The error per sample that an operator failed on."""
    manifest: Mapping[str, Any]
    """The content of manifest.yaml."""
