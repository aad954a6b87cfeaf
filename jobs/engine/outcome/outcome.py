"""The outcome of a run: the selection, its pool, and the output folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.engine.outcome import ledger
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.store.folder import Folder


@dataclass(frozen=True)
class Outcome:
    """The decisions of a run, and the files that it writes into its folder."""

    folder: Folder
    pool: Pool
    """The pool that the selection is from: a recipe may have grown the pool of the inputs."""
    selection: Selection
    counts: Mapping[str, int]
    """The number of records per state: kept, dropped, duplicate, quarantined."""
    failed: Mapping[int, str]
    """The column and the error of each sample that an operator failed on, by id."""
    manifest: Mapping[str, Any]
    """The content of manifest.yaml."""


def written(chosen: Selection, pool: Pool, identity: Mapping[str, Any], out: Folder) -> Outcome:
    """Writes the kept records, the ledger and the quarantine to `out`, and returns the outcome.

    pool: the pool that the selection is from. identity: the beginning of the manifest, which this function extends by
    the results and does not write. WinnowError where the counts do not add up.
    """
    failed = ledger.failures(chosen)
    ledger.write_selected(pool, chosen.ids, out)
    ledger.write_quarantine(pool, failed, out)
    counts = ledger.write_ledger(pool, chosen, failed, out)
    manifest = {
        **identity,
        "counts": {"records": pool.facts["records"], **counts},
        "found": dict(chosen.facts),
        "selected_from": {"folder": pool.folder, "fingerprint": pool.facts["fingerprint"]},
        "vector": chosen.vector,
    }
    return Outcome(out, pool, chosen, counts, failed, manifest)
