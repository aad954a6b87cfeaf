"""Runs a map and records it. Stored values are not computed again, and equal samples are computed once."""

import time

import numpy as np
import ray

from jobs.engine.execute.failure import told
from jobs.engine.execute.model_room import refuse_without_room
from jobs.engine.execute.session import Session
from jobs.engine.execute.settling import settle
from jobs.engine.execute.sharing import known_already, share_with_repeats
from jobs.engine.execute.stream import stream, what_to_do
from jobs.engine.record.entries import declaration
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.samples.reading import KNOWN_BY
from jobs.engine.samples.runs import Runs
from jobs.engine.store.feature import ERROR, MISSING, VALUE, Feature
from jobs.engine.terminal.errors import OverErrorBudget, WinnowError
from jobs.engine.terminal.screen import say
from operators.base import Operator


def mapped(
    samples: Samples, session: Session, name: str, operator: Operator, ids: np.ndarray
) -> tuple[Feature, np.ndarray]:
    """Computes an operator for the samples with these ids (ascending), except where the store has the values.

    name: the column's name, for messages and the record. Returns the feature, and the ids, ascending, of the samples
    that have a value. OverErrorBudget where more samples have an error than `max_errors` allows; WinnowError where a
    sample has neither value nor error in the end.
    """
    began = time.monotonic()
    store = session.store
    store.declare(operator)
    feature = store.feature(operator, samples.identity(operator.belongs_to()))
    wanted = (MISSING, ERROR) if session.retry_errors else (MISSING,)
    with told(name, session):
        states = settle(feature, samples.samples)
    missing = ids[np.isin(states[ids], wanted)]
    size, stored = len(ids), len(ids) - len(missing)
    # What is held while the samples stream is held for hours. Consecutive ids are two numbers, and not an array.
    given = Runs.of(ids)
    del ids
    taken, known_by, repeats = 0, KNOWN_BY[operator.belongs_to()], missing[:0]
    if len(missing):
        with told(name, session):
            taken, repeats = known_already(feature, operator, store, samples.parts, Runs.of(missing))
    if taken:
        with told(name, session):
            states = settle(feature, samples.samples)
        missing = missing[np.isin(states[missing], wanted)]
    repeats = np.intersect1d(repeats, missing, assume_unique=True)
    asked = Runs.of(missing).without(repeats)
    del missing
    allowed = session.max_errors * size
    from_others = f", {taken:,} known from an earlier run" if taken else ""
    say(f"{name}: {size:,} samples, {stored:,} in the store{from_others}, {len(asked):,} to compute")
    if len(asked):
        refuse_without_room({name: operator}, session)
        started = time.monotonic()
        stream(operator, name, feature, samples.parts, asked, allowed, session)
        store.note_pace(operator, len(asked), time.monotonic() - started)
        if len(repeats):
            with told(name, session):
                ray.get(share_with_repeats.remote(feature, samples.parts, repeats, known_by))
        with told(name, session):
            states = settle(feature, samples.samples)
    ids = given.ids()
    found = states[ids]
    _refuse_missing(name, feature, ids, found)
    failed = int((found == ERROR).sum())
    session.log.append(
        {
            "map": name,
            **declaration(operator),
            "pool": samples.folder,
            "feature": feature.folder,
            "samples": size,
            "stored": stored,
            "taken_over": taken,
            "computed": len(asked),
            "failed": failed,
            "seconds": round(time.monotonic() - began, 2),
        }
    )
    if failed > allowed:
        raise OverErrorBudget(
            f"{name}: {failed:,} of {size:,} samples have an error, and max_errors allows {allowed:,.0f}. "
            f"{what_to_do(operator, name, next(feature.errors(), (0, ''))[1])}"
        )
    return feature, ids if not failed else ids[found == VALUE]


def _refuse_missing(name: str, feature: Feature, ids: np.ndarray, states: np.ndarray) -> None:
    """Raises WinnowError where samples have neither value nor error, although all batches were written."""
    if lost := int((states == MISSING).sum()):
        raise WinnowError(
            f"{name}: {lost:,} of {len(ids):,} samples have neither a value nor an error after the map, the first is "
            f"sample {ids[states == MISSING][0]}. Their parts were written and are not in {feature.folder}: do all "
            "nodes see the same folder there, and did nothing remove files from it? The same command computes them"
        )
