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
    """Records by state: kept, dropped, duplicate, quarantined."""
    manifest: Mapping[str, Any]
    """The content of manifest.yaml."""
