"""Runs a map and records it. Stored values are not computed again, and equal samples are computed once."""

import time
from dataclasses import dataclass

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
from jobs.engine.terminal.errors import OverErrorBudget, WinnowError, allowed_by
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
    session.store.declare(operator)
    feature = session.store.feature(operator, samples.identity(operator.belongs_to()))
    making = Making(name, operator, feature, samples, session)
    given = Runs.of(ids)
    del ids  # what is held while the samples stream is held for hours, and consecutive ids are two numbers
    states = making.states()
    missing = making.missing(given, states)
    stored = len(given) - len(missing)
    taken, repeats = making.taken_over(missing)
    if taken:
        states = making.states()
        missing, repeats = making.missing(missing, states), repeats[making.are_missing(states[repeats])]
    asked = missing.without(repeats)
    from_others = f", {taken:,} known from an earlier run" if taken else ""
    say(f"{name}: {len(given):,} samples, {stored:,} in the store{from_others}, {len(asked):,} to compute")
    allowed = allowed_by(session.max_errors, len(given))
    if len(asked):
        making.compute(asked, allowed)
        making.share(repeats)
        states = making.states()
    valued, failed = making.ended(given, states)
    entry = {"feature": feature.folder, "samples": len(given), "stored": stored, "taken_over": taken}
    entry |= {"computed": len(asked), "failed": failed, "seconds": round(time.monotonic() - began, 2)}
    session.log.append({"map": name, **declaration(operator), "pool": samples.folder, **entry})
    if failed > allowed:
        raise OverErrorBudget(
            f"{name}: {failed:,} of {len(given):,} samples have an error, and max_errors allows {allowed:,}. "
            f"{what_to_do(operator, name, next(feature.errors(), (0, ''))[1])}"
        )
    return feature, valued


@dataclass(frozen=True)
class Making:
    """A column that is being made. Its methods raise errors of Ray as a WinnowError that names it."""

    name: str
    operator: Operator
    feature: Feature
    samples: Samples
    session: Session

    def states(self) -> np.ndarray:
        """The state of each sample of the pool, once what was written is merged; (samples,) uint8."""
        with told(self.name, self.session):
            return settle(self.feature, self.samples.samples)

    def are_missing(self, states: np.ndarray) -> np.ndarray:
        """Which of these states say that a sample is to be computed; (n,) bool."""
        missing = states == MISSING
        return missing | (states == ERROR) if self.session.retry_errors else missing

    def missing(self, given: Runs, states: np.ndarray) -> Runs:
        """Which of these samples are to be computed."""
        ids = given.ids()
        return Runs.of(ids[self.are_missing(states[ids])])

    def taken_over(self, missing: Runs) -> tuple[int, np.ndarray]:
        """How many of these samples got the value of an equal one in the store, and the ids of those that repeat one.

        The ids are those of the samples, ascending, of which an equal one with a lower id is among these too.
        """
        if not len(missing):
            return 0, np.empty(0, np.int64)
        with told(self.name, self.session):
            return known_already(self.feature, self.operator, self.session.store, self.samples.parts, missing)

    def compute(self, asked: Runs, allowed: int) -> None:
        """Computes the operator for these samples; allowed: how many may fail."""
        refuse_without_room({self.name: self.operator}, self.session)
        began = time.monotonic()
        stream(self.operator, self.name, self.feature, self.samples.parts, asked, allowed, self.session)
        self.session.store.note_pace(self.operator, len(asked), time.monotonic() - began)

    def share(self, repeats: np.ndarray) -> None:
        """Gives these samples the value, or the error, of the equal ones that were computed."""
        if len(repeats):
            known_by = KNOWN_BY[self.operator.belongs_to()]
            with told(self.name, self.session):
                ray.get(share_with_repeats.remote(self.feature, self.samples.parts, repeats, known_by))

    def ended(self, given: Runs, states: np.ndarray) -> tuple[np.ndarray, int]:
        """The ids of the samples with a value, ascending, and the number of those with an error.

        WinnowError where a sample has neither.
        """
        ids = given.ids()
        found = states[ids]
        _refuse_missing(self.name, self.feature, ids, found)
        failed = int((found == ERROR).sum())
        return ids if not failed else ids[found == VALUE], failed


def _refuse_missing(name: str, feature: Feature, ids: np.ndarray, states: np.ndarray) -> None:
    """Raises WinnowError where samples have neither value nor error, although all batches were written."""
    if lost := int((states == MISSING).sum()):
        raise WinnowError(
            f"{name}: {lost:,} of {len(ids):,} samples have neither a value nor an error after the map, the first is "
            f"sample {ids[states == MISSING][0]}. Their parts were written and are not in {feature.folder}: do all "
            "nodes see the same folder there, and did nothing remove files from it? The same command computes them"
        )
