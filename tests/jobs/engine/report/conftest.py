"""The outcomes of pretend runs, which the report and the card are written from."""

from dataclasses import replace

import numpy as np
import pytest

from jobs.engine.execute.session import Session
from jobs.engine.outcome.outcome import desk, written
from jobs.engine.pool.column import Column
from jobs.engine.pool.series import Series
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from tests.jobs.engine.report.pretend import FAULTY, OTHER, feature_of, grown_from, manifest_of, pool_of, vectors_for


@pytest.fixture
def outcome_of(tmp_path, ray_session):
    """Makes the outcome of a run over a pool of so many samples that keeps those ids: outcome_of(40, [3, 1])."""

    def make(samples, ids, *, failed=(), quarantine=(), duplicates=0, recipe="at_random", said=None, other=OTHER,
             vectors=None, parents=None, **decided):  # fmt: skip
        pool = pool_of(tmp_path / "pool", samples, quarantine, duplicates, said or {}, other)
        if failed:
            having = np.setdiff1d(pool.ids, list(failed))
            pool = replace(pool, columns={"length": Column(having, feature_of(pool, failed))})
        if vectors is not None:
            pool = replace(pool, columns={**pool.columns, "embed": vectors_for(pool, vectors)})
            decided["vector"] = "embed"
        if parents:
            pool = grown_from(pool, parents)
        kept = pool.ranking(np.array(ids, int))
        for name in ("score", "details"):
            if name in decided:
                decided[name] = _values(decided[name])
        chosen = pool.selection(kept, because={"not drawn": pool, "drawn at random": kept}, **decided)
        outcome = written(chosen, pool, {}, at)
        return replace(outcome, manifest=manifest_of(pool, outcome.counts, recipe))

    with desk(Folder.at(tmp_path), Session(Store(str(tmp_path / "store")))) as at:
        yield make


def _values(given):
    """Pairs of ids and values as a selection takes them."""
    if isinstance(given, dict):
        return {name: _values(pair) for name, pair in given.items()}
    ids, values = map(np.asarray, given)
    return Series(ids, values)


@pytest.fixture
def full(outcome_of):
    """An outcome with samples and records in every state, with scores, centroids and errors."""
    scored = np.arange(2, 40)
    centroid = (np.arange(40), np.arange(40) % 5)
    details = {"centroid": centroid, "distance": (scored, 2.0 / scored)}
    return outcome_of(40, [0, 12, 30, 31], failed=(4, 9), quarantine=FAULTY, duplicates=3,
                      score=(scored, 1 / scored), details=details)  # fmt: skip
