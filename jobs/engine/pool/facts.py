"""Facts of every selection, whatever the recipe: thresholds, unscored and truncated samples, and the role of length."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import ray

from jobs.engine.execute.session import Session
from jobs.engine.pool.column import Column
from jobs.engine.pool.held import Run
from jobs.engine.pool.ids import among, held_by
from jobs.engine.pool.series import Series
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.samples.reading import Parts, read_samples
from operators.kernels.correlation import spearman
from operators.sample import response

READ_HERE = 1000
"""Up to so many samples are read on the driver, and more in a task."""

COMPARED = 20_000
"""The maximum number of scored samples, drawn at random, whose response lengths are compared with their scores."""


def common_facts(
    samples: Samples, session: Session, score: Series | None, columns: Mapping[str, Column]
) -> dict[str, Any]:
    """The facts that every selection has in the manifest.

    They are the thresholds of the decisions in the session's record. With a score they are also the number of samples
    without one, and the rank correlation with the response length where it is defined. Where operators report it, the
    number of samples that were truncated is there too.
    """
    facts: dict[str, Any] = {
        entry["decide"]: float(entry["threshold"])
        for entry in session.log
        if "decide" in entry and entry["pool"] == samples.folder
    }
    if score is not None:
        known = np.isfinite(score.values)
        if score.over is not None:
            known &= among(score.places, held_by(score))
        facts["not scored"] = samples.samples - int(np.count_nonzero(known))
        correlation = _correlation(samples, score, known)
        if np.isfinite(correlation):
            facts["rank correlation with response length"] = correlation
    cut = [column for column in columns.values() if "truncated" in column.fields()]
    if cut:
        marks = np.zeros(samples.samples, bool)
        for column in cut:
            own = held_by(column)
            marks[own.at(np.flatnonzero(column.values(own, "truncated").astype(bool)))] = True
        facts["truncated"] = int(np.count_nonzero(marks))
    return facts


def _correlation(samples: Samples, score: Series, known: np.ndarray) -> float:
    """Spearman's rank correlation of the scores with the number of characters of the responses.

    It is computed over at most COMPARED samples; known: which values are scores. NaN where either is constant, and for
    fewer than two samples.
    """
    places = np.random.default_rng(0).permutation(int(np.count_nonzero(known)))[:COMPARED].copy()
    places.sort()
    if not known.all():
        places = Run(0, len(known)).where(known).at(places)
    ids = score.places.at(places)
    if not len(ids):
        return float("nan")
    read = ray.get(_in_a_task.remote(samples.parts, ids)) if len(ids) > READ_HERE else _lengths(samples.parts, ids)
    return spearman(score.values[places], read)


def _lengths(parts: Parts, ids: np.ndarray) -> np.ndarray:
    """The number of characters of the responses of these samples (ascending); (n,) float64."""
    tables = read_samples(parts, ids, ["messages"])
    return np.array([len(response(each)) for table in tables for each in table["messages"].to_pylist()], np.float64)


@ray.remote(num_cpus=1)
def _in_a_task(parts: Parts, ids: np.ndarray) -> np.ndarray:
    return _lengths(parts, ids)
