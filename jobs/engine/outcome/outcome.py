"""The outcome of a run: the selection, its pool, and the output folder."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobs.engine.execute.session import Session
from jobs.engine.ingest.tasks import Tasks
from jobs.engine.outcome.failures import Errors, errors_of
from jobs.engine.outcome.ledger import Ledger, write_ledger
from jobs.engine.outcome.manifest import TEMPORARY
from jobs.engine.outcome.quarantine import write_quarantine
from jobs.engine.outcome.selected import write_selected
from jobs.engine.outcome.selected_rows import write_selected_rows
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.place_errors import regardless
from jobs.engine.terminal.screen import say


@dataclass(frozen=True)
class Desk:
    """Where and by what an outcome is written. Ray must be connected."""

    out: Folder
    interim: Folder
    """A hidden folder inside `out` for the files that tasks pass to one another."""
    tasks: Tasks


@dataclass(frozen=True)
class Outcome:
    """The decisions of a run, and the files that it writes into its folder."""

    desk: Desk
    pool: Pool
    """The pool that the selection is from: a recipe may have grown the pool of the inputs."""
    selection: Selection
    ledger: Ledger
    errors: Errors
    manifest: Mapping[str, Any]
    """The content of manifest.yaml."""

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of records per state: kept, dropped, duplicate, quarantined."""
        return self.ledger.counts()


@contextmanager
def desk(out: Folder, session: Session) -> Iterator[Desk]:
    """What an outcome in this folder is written with. At the end the interim folder is removed, and no task runs."""
    interim = out.inner(TEMPORARY + uuid.uuid4().hex[:12])
    interim.make()
    tasks = Tasks(session.reading.task_cpus, say)
    try:
        yield Desk(out, interim, tasks)
    finally:
        tasks.stop()
        with regardless():
            interim.remove()


def written(chosen: Selection, pool: Pool, identity: Mapping[str, Any], desk: Desk) -> Outcome:
    """Writes the kept records, the ledger and the quarantine, and returns the outcome.

    pool: the pool that the selection is from. identity: the beginning of the manifest, which this function extends by
    the results and does not write. WinnowError where the counts do not add up.
    """
    out, interim, tasks = desk.out, desk.interim, desk.tasks
    errors = errors_of(chosen.features, pool.samples, interim, tasks)
    write_selected(pool.parts, chosen, interim, out, tasks)
    write_selected_rows(pool.parts, pool.facts, chosen, interim, out, tasks)
    write_quarantine(pool.parts, chosen, errors, out, tasks)
    ledger = write_ledger(pool, chosen, errors, out, tasks)
    manifest = {
        **identity,
        "counts": {"records": pool.facts["records"], **ledger.counts()},
        "found": dict(chosen.facts),
        "selected_from": {"folder": pool.folder, "fingerprint": pool.facts["fingerprint"]},
        "vector": chosen.vector,
    }
    return Outcome(desk, pool, chosen, ledger, errors, manifest)
