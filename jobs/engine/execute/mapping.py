"""Runs a map and records it. Stored values are not computed again, and equal samples are computed once."""

import time

import numpy as np

from jobs.engine.execute.failure import answer
from jobs.engine.execute.session import Session
from jobs.engine.execute.sharing import known_already, share_with_repeats
from jobs.engine.execute.stream import stream, what_to_do
from jobs.engine.record.entries import declaration
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.samples.reading import KNOWN_BY
from jobs.engine.store.feature import ERROR, MISSING, VALUE, Feature
from jobs.engine.terminal.errors import OverErrorBudget
from jobs.engine.terminal.screen import say
from operators.base import Operator


def mapped(
    samples: Samples, session: Session, name: str, operator: Operator, ids: np.ndarray
) -> tuple[Feature, np.ndarray]:
    """Computes an operator for the samples with these ids (ascending), except where the store has the values.

    name: the column's name, for messages and the record. Returns the feature, and the ids, ascending, of the samples
    that have a value. OverErrorBudget where more samples have an error than `max_errors` allows.
    """
    began = time.monotonic()
    store = session.store
    store.declare(operator)
    feature = store.feature(operator, samples.identity(operator.belongs_to()))
    wanted = (MISSING, ERROR) if session.retry_errors else (MISSING,)
    states = feature.states(samples.samples)
    missing = ids[np.isin(states[ids], wanted)]
    stored = len(ids) - len(missing)
    taken, known_by, repeats = 0, KNOWN_BY[operator.belongs_to()], missing[:0]
    if len(missing):
        task = known_already.remote(feature, store.known(operator), samples.parts, missing, known_by)
        taken, repeats = answer(task, name, session)
        states = feature.states(samples.samples)
        missing = missing[np.isin(states[missing], wanted)]
        repeats = np.intersect1d(repeats, missing)
        missing = np.setdiff1d(missing, repeats)
    allowed = session.max_errors * len(ids)
    from_others = f", {taken:,} known from another pool" if taken else ""
    say(f"{name}: {len(ids):,} samples, {stored:,} in the store{from_others}, {len(missing):,} to compute")
    if len(missing):
        started = time.monotonic()
        stream(operator, name, feature, samples.parts, missing, allowed, session)
        store.note_pace(operator, len(missing), time.monotonic() - started)
        answer(share_with_repeats.remote(feature, samples.parts, repeats, known_by), name, session)
        states = feature.states(samples.samples)
    failed = int((states[ids] == ERROR).sum())
    session.log.append(
        {
            "map": name,
            **declaration(operator),
            "pool": samples.folder,
            "feature": feature.folder,
            "samples": len(ids),
            "stored": stored,
            "taken_over": taken,
            "computed": len(missing),
            "failed": failed,
            "seconds": round(time.monotonic() - began, 2),
        }
    )
    if failed > allowed:
        raise OverErrorBudget(
            f"{name}: {failed:,} of {len(ids):,} samples have an error, and max_errors allows {allowed:,.0f}. "
            f"{what_to_do(operator, name, next(feature.errors(), (0, ''))[1])}"
        )
    return feature, ids[states[ids] == VALUE]
