"""The outcome of a run: what it decided, in which pool, and where it lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.engine.outcome import ledger
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection


@dataclass(frozen=True)
class Outcome:
    """What a run decided and what it will write, or has written, into its folder."""

    folder: Path
    pool: Pool
    """The pool that was selected from: a recipe may have grown the one that it was given."""
    selection: Selection
    counts: Mapping[str, int]
    """The number of records per state: kept, dropped, duplicate, quarantined."""
    failed: Mapping[int, str]
    """The error per sample that an operator failed on."""
    manifest: Mapping[str, Any]
    """The content of manifest.yaml."""


def written(chosen: Selection, pool: Pool, identity: Mapping[str, Any], out: Path) -> Outcome:
    """The outcome, with the kept records, the ledger and the quarantine written to `out`; its manifest has no end yet.

    pool: the one that the selection is of. identity: what the manifest begins with.
    """
    failed = ledger.failures(chosen)
    ledger.write_selected(pool, chosen.ids, out / "selected.jsonl")
    ledger.write_quarantine(pool, failed, out / "quarantine.jsonl")
    counts = ledger.write_ledger(pool, chosen, failed, out / "selection.parquet")
    manifest = {
        **identity,
        "counts": {"records": pool.facts["records"], **counts},
        "found": dict(chosen.facts),
        "selected_from": {"folder": pool.folder, "fingerprint": pool.facts["fingerprint"]},
        "vector": chosen.vector,
    }
    return Outcome(out, pool, chosen, counts, failed, manifest)
