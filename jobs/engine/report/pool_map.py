"""The map of the pool: where the samples lie by their vectors, and the story of each sample on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jobs.engine.outcome.decided import sliced
from jobs.engine.outcome.failures import Errors
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.report.display import drawn_part, plain
from jobs.engine.report.figures import KEPT, POOL, Figure, styled
from jobs.engine.report.layout import layout
from jobs.engine.report.vectors import Vectors
from jobs.engine.samples.reading import Parts, read_samples
from operators.sample import Message, joined, said
from operators.scripts import script

POINTS, KEPT_POINTS = 6_000, 3_000
"""The most samples on the map, and the most kept ones among them. A browser draws so many without delay."""
TEXT_BYTES, SAMPLE_BYTES, ROOM = 1_600_000, 1_200, 40
"""The most bytes of all texts on the page, those of a sample, and what a message has at least."""
MESSAGES, NAMES = 4, 40
FAINT = "#e9e9e4"


class Drawn(NamedTuple):
    """The samples on a map, and their places."""

    ids: np.ndarray
    """Ascending."""
    points: np.ndarray
    """(ids, 2) float32, from -1 to 1."""
    method: str
    having: int
    """The number of samples that have a vector, of the pool and of the kept."""
    kept_having: int


@dataclass(frozen=True)
class Map:
    """What the page's map shows."""

    figure: Figure
    names: Mapping[str, list[str]]
    """What the samples can be filtered by: the names of the states, sources, scripts and reasons."""
    samples: Mapping[str, list[Any]]
    """A value per point: id, line, rank, score, text, and the positions of its names."""


def drawn(vectors: Vectors, samples: int, kept: np.ndarray, seed: int) -> Drawn:
    """Draws samples for the map, and places them: the kept ones up to a bound, and others at random.

    samples: of the pool. kept: ids. It reads all vectors that it places, so it is for a task.
    """
    having = vectors.having(samples)
    total = int(having.sum())
    random = np.random.default_rng(seed)
    kept_having = kept[having[kept]]
    chosen = _some(random, np.sort(kept_having), KEPT_POINTS)
    having[kept] = False
    others = _some(random, np.flatnonzero(having), POINTS - len(chosen))
    ids = np.union1d(chosen, others)
    if not len(ids):
        return Drawn(ids, np.empty((0, 2), np.float32), "", 0, 0)
    places = layout(vectors.unit(ids), seed)
    return Drawn(ids, places.points, places.method, total, len(kept_having))


def _some(random: np.random.Generator, ids: np.ndarray, most: int) -> np.ndarray:
    return ids if len(ids) <= most else random.choice(ids, most, replace=False, shuffle=False)


def pool_map(outcome: Outcome, vectors: Vectors, places: Drawn, names: Mapping[str, str]) -> Map | None:
    """The map with the stories of its samples; None where no sample has a vector. names: the short name per source."""
    ids, chosen = places.ids, outcome.selection
    if not len(ids):
        return None
    calls = [
        (parts, ids[those], outcome.errors, chosen.ids, min(SAMPLE_BYTES, TEXT_BYTES // len(ids)))
        for parts, those in sliced(outcome.pool.parts, ids)
        if those.start < those.stop
    ]
    told: list[_Stories] = outcome.desk.tasks.results("read the map's samples of", _stories, calls)
    rank = np.zeros(len(ids), np.int64)
    order = np.flatnonzero(np.isin(chosen.ids, ids))
    rank[np.searchsorted(ids, chosen.ids[order])] = order + 1
    failed = dict(chain.from_iterable(each.failed.items() for each in told))
    states = ["kept" if place else "quarantined" if each in failed else "dropped"
              for each, place in zip(ids.tolist(), rank.tolist(), strict=True)]  # fmt: skip
    reasons = [failed.get(each) or chosen.reasons[chosen.reason[each]] for each in ids.tolist()]
    labels = {
        "state": states,
        "source": [names.get(each, each) for told_of in told for each in told_of.sources],
        "script": [each for told_of in told for each in told_of.scripts],
        "reason": reasons,
    }
    coded = {name: _coded([plain(each) for each in values]) for name, values in labels.items()}
    samples = {
        "id": ids.tolist(),
        "line": [each for told_of in told for each in told_of.lines],
        "rank": rank.tolist(),
        "score": [float(f"{each:.6g}") if np.isfinite(each) else None for each in chosen.score[ids].tolist()],
        "text": [each for told_of in told for each in told_of.texts],
        **{name: positions for name, (_, positions) in coded.items()},
    }
    kept = rank > 0
    named = {name: known for name, (known, _) in coded.items()}
    return Map(scattered(places.points, kept, _caption(outcome, vectors, places, int(kept.sum()))), named, samples)


def scattered(points: np.ndarray, kept: np.ndarray, caption: str) -> Figure:
    """The map of the pool. points: (n, 2); kept: (n,) bool. The points carry their numbers, 0 to n - 1.

    The first trace is for the points that a reader filters out.
    """
    looks = (("filtered out", FAINT, 3), ("not kept", POOL, 5), ("kept", KEPT, 7))
    some = (np.empty(0, np.int64), np.flatnonzero(~kept), np.flatnonzero(kept))
    data = [
        {
            "type": "scatter", "mode": "markers", "name": name, "x": _places(points[those, 0]),
            "y": _places(points[those, 1]), "customdata": those.tolist(), "hoverinfo": "none" if these else "skip",
            "showlegend": bool(these),
            "marker": {"color": color, "size": size, "opacity": 0.85 if name == "kept" else 0.6,
                       "symbol": "diamond" if name == "kept" else "circle",
                       "line": {"width": 0.6 if name == "kept" else 0, "color": "#fff"}},
        }
        for these, ((name, color, size), those) in enumerate(zip(looks, some, strict=True))
    ]  # fmt: skip
    hidden = {"visible": False, "showgrid": False, "fixedrange": False, "range": [-1.08, 1.08]}
    changes = {
        "xaxis": {**hidden, "constrain": "domain"},
        "yaxis": {**hidden, "scaleanchor": "x", "constrain": "domain", "rangemode": "normal"},
        "hovermode": "closest", "margin": {"l": 4, "r": 4, "t": 26, "b": 4}, "dragmode": "zoom",
    }  # fmt: skip
    layout = styled("", "", changes)
    del layout["height"]  # the style of the page sets it
    return Figure("map", "Map of the pool", caption, data, layout)


def _places(values: np.ndarray) -> list[float]:
    return [round(each, 4) for each in values.tolist()]


def _caption(outcome: Outcome, vectors: Vectors, places: Drawn, kept: int) -> str:
    others, all_others = len(places.ids) - kept, places.having - places.kept_having
    of_kept, of_others = drawn_part(kept, places.kept_having), drawn_part(others, all_others)
    without = outcome.pool.samples - places.having
    lost = f" {without:,} samples have no vector and are not on the map." if without else ""
    return (f"Shown: {of_kept} kept samples and {of_others} others, placed by {places.method} of {vectors.origin}. "
            f"Samples that are near one another are similar; the axes have no meaning.{lost}")  # fmt: skip


def _coded(labels: Sequence[str]) -> tuple[list[str], list[int]]:
    """The most frequent labels, with the rare ones as one label at the end; and the position of each label in them."""
    counts = Counter(labels)
    names = sorted(counts, key=lambda each: (-counts[each], each))
    if len(names) > NAMES:
        names = [*names[: NAMES - 1], f"{len(names) - NAMES + 1:,} others"]
    place = {name: position for position, name in enumerate(names)}
    return names, [place.get(each, len(names) - 1) for each in labels]


class _Stories(NamedTuple):
    """What a task read of some samples: a value per sample, and the errors of those that have one, by id."""

    sources: list[str]
    lines: list[int]
    scripts: list[str]
    texts: list[list[tuple[str, str]]]
    failed: Mapping[int, str]


def _stories(parts: Parts, ids: np.ndarray, errors: Errors, kept: np.ndarray, room: int) -> _Stories:
    """Reads the samples with these ids; room: the bytes of a sample's texts."""
    rows = [row for table in read_samples(parts, ids, ["source", "line", "messages"]) for row in table.to_pylist()]
    failed, why = errors.failed(parts.ids(), kept)
    mapped = np.isin(failed, ids)
    failures = zip(failed[mapped].tolist(), why.filter(pa.array(mapped)).to_pylist(), strict=True)
    return _Stories(
        [row["source"] for row in rows],
        [row["line"] for row in rows],
        [script(joined(row["messages"], "system", "user", "assistant")) for row in rows],
        [_told(row["messages"], room) for row in rows],
        {each: _kind(error) for each, error in failures},
    )


def _kind(error: str) -> str:
    """The column and the kind of an error, without what is different for each sample."""
    return ": ".join(error.split(": ")[:2])


def _told(messages: Sequence[Message], room: int) -> list[tuple[str, str]]:
    """The first messages, role and text, cut so that they take about so many bytes on the page in all."""
    told = []
    shown = messages[:MESSAGES]
    for place, message in enumerate(shown):
        text, taken = fitted(said(message), max(room // (len(shown) - place), ROOM))
        told.append((message["role"], text))
        room -= taken
    if len(messages) > MESSAGES:
        told.append((f"and {len(messages) - MESSAGES:,} more messages", ""))
    return told


def fitted(text: str, room: int) -> tuple[str, int]:
    """The beginning of a text that takes at most so many bytes on the page, and these bytes.

    Invisible characters are shown by their code points, and an ellipsis is where the text was cut.
    """
    read = text[: 4 * room]
    shown, taken = plain(read), 0
    for place, character in enumerate(shown):
        # In a script element these characters are written as \\uXXXX, and others as they are in UTF-8.
        cost = 6 if character in "<>&'" else 2 if character in '"\\\n\t' else len(character.encode("utf-8", "replace"))
        if taken + cost > room:
            return f"{shown[:place].rstrip()} \u2026", taken
        taken += cost
    return shown + (" \u2026" if len(text) > len(read) else ""), taken
