"""The report of a run: one HTML file that needs nothing else, for people who train on the selection."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jobs.engine.ingest.tasks import fetched
from jobs.engine.outcome.ledger import DUPLICATE, STATES
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.selection import Selection
from jobs.engine.record.entries import Use, besides, uses
from jobs.engine.report.distributions import details, scores
from jobs.engine.report.excerpts import Excerpt, best, best_dropped, faults, some_dropped, some_quarantined, worst
from jobs.engine.report.families import Families, families
from jobs.engine.report.figures import Figure, by_rank, coverage, lengths
from jobs.engine.report.map_figure import scattered
from jobs.engine.report.measures import Share, comparisons, measures
from jobs.engine.report.origin import REPEAT, File, as_yaml, files, method, short_names
from jobs.engine.report.pairs import ALIKE, Pair, close, pairs
from jobs.engine.report.pool_map import Map, drawn, pool_map
from jobs.engine.report.rendering import write_page
from jobs.engine.report.tables import Error, Reason, Verb, errors, reasons, verbs
from jobs.engine.report.vectors import Vectors, vectors_of

CURVES = 3
ARXIV = re.compile(r"arXiv[ :](\d{4}\.\d{4,5})")


class Tile(NamedTuple):
    """The number of records in a state."""

    state: str
    label: str
    records: int


@dataclass(frozen=True)
class Alike:
    """What the report says of samples that are alike."""

    map: Map | None
    maps: list[Figure]
    """The figure of the map; empty where there is none."""
    pairs: list[Pair]
    summary: str
    """How many kept samples have a near-duplicate among the kept."""


@dataclass(frozen=True)
class Report:
    """What the template of the report shows."""

    title: str
    recipe: str
    method: list[str]
    """The method's description, split at the arXiv numbers: text, number, text, ..."""
    records: int
    tiles: list[Tile]
    finished: str
    seconds: float
    seed: int | None
    drawn: tuple[str, str]
    """From which samples of the pool, and from which kept samples, the comparison was made."""
    alike: "Alike"
    lengths: list[Figure]
    comparisons: Mapping[str, list[Share]]
    ranking: list[Figure]
    coverage: list[Figure]
    reasons: list[Reason]
    verbs: list[Verb]
    uses: list[Use]
    errors: list[Error]
    best: list[Excerpt]
    worst: list[Excerpt]
    best_dropped: list[Excerpt]
    families: Families | None
    dropped: list[Excerpt]
    quarantined: list[Excerpt]
    names: Mapping[str, str]
    """The short name per source."""
    files: list[File]
    files_left_out: int
    besides: list[tuple[str, str]]
    """The files read besides the inputs, each with its hash."""
    fields: str
    manifest: str
    command: str
    repeat: str


def write_report(outcome: Outcome) -> None:
    """Writes the report: the counts, the selection compared with its pool, the samples, and what ran."""
    page = report(outcome)
    charts = [*page.alike.maps, *page.lengths, *page.ranking, *page.coverage]
    write_page(outcome.desk.out, "report.html", "report.html", page, charts)


def report(outcome: Outcome) -> Report:
    """The content of the report."""
    manifest, run = outcome.manifest, outcome.manifest["run"]
    sources = manifest["pool"]["sources"]
    names = short_names([source["uri"] for source in sources])
    vectors = vectors_of(outcome)
    comparing = _started(outcome, vectors) if vectors else None
    found = faults(outcome)
    measured = measures(outcome, names)
    listed = files(manifest["pool"])
    covered = coverage(outcome.selection)
    return Report(
        title=f"{run['recipe']}, budget {run['fields'].get('budget')}",
        recipe=run["recipe"],
        method=ARXIV.split(method(run["recipe"])),
        records=manifest["counts"]["records"],
        tiles=[Tile(state, "duplicates" if state == DUPLICATE else state, outcome.counts[state]) for state in STATES],
        finished=str(manifest["finished"]).replace("T", " ").replace("+00:00", " UTC"),
        seconds=manifest["seconds"],
        seed=run["fields"].get("seed"),
        drawn=(_of(measured.of_pool, outcome.pool.samples), _of(measured.of_kept, len(outcome.selection.ids))),
        alike=_alike(outcome, vectors, comparing, names) if vectors else Alike(None, [], [], ""),
        lengths=[
            lengths("response", measured.response, measured),
            lengths("instruction", measured.instruction, measured),
        ],
        comparisons=comparisons(measured),
        ranking=[*_ranking(outcome.selection)],
        coverage=[covered] if covered else [],
        reasons=reasons(outcome, found),
        verbs=[*verbs(manifest["verbs"])],
        uses=uses(manifest["verbs"]),
        errors=errors(found),
        best=best(outcome),
        worst=worst(outcome),
        best_dropped=best_dropped(outcome),
        families=families(outcome),
        dropped=some_dropped(outcome),
        quarantined=some_quarantined(outcome, found),
        names=names,
        files=listed,
        files_left_out=len(sources) - len(listed),
        besides=besides(manifest["verbs"]),
        fields=as_yaml(run["fields"]),
        manifest=as_yaml(_rest(manifest)),
        command=manifest["command"],
        repeat=REPEAT,
    )


def _started(outcome: Outcome, vectors: Vectors) -> tuple[Any, Any]:
    """Starts the tasks that compare vectors: the map's, and that of the near-duplicates."""
    seed, kept, tasks = outcome.manifest["run"]["fields"].get("seed", 0), outcome.selection.ids, outcome.desk.tasks
    return (
        tasks.started(drawn, vectors, outcome.pool.samples, kept, seed),
        tasks.started(close, vectors, outcome.pool.samples, kept),
    )


def _alike(outcome: Outcome, vectors: Vectors, comparing: Any, names: Mapping[str, str]) -> Alike:
    """What the tasks have found."""
    places, near = (fetched(each) for each in comparing)
    found = pool_map(outcome, vectors, places, names)
    size = len(outcome.selection.ids)
    some = "kept samples" if near.compared == size else "best kept samples that have a vector"
    summary = f"{near.alike:,} of {near.compared:,} {some} have a cosine similarity of at least {ALIKE:g} to another."
    maps = [scattered(found.points, found.kept, found.caption)] if found else []
    return Alike(found, maps, pairs(outcome, near), summary)


def _of(drawn: np.ndarray, size: int) -> str:
    """Which part of `size` samples was drawn, in words."""
    count = np.count_nonzero(drawn)
    return f"a random {count:,} of the {size:,}" if count < size else f"all {size:,}"


def _ranking(chosen: Selection) -> Iterator[Figure]:
    """The score and the first details that are fractions: the distribution of each, then each by rank."""
    if histogram := scores(chosen):
        yield histogram
    fractions = [name for name, values in chosen.details.items() if values.dtype.kind == "f"][: CURVES - 1]
    for place, name in enumerate(fractions, start=1):
        if histogram := details(f"detail-{place}", name, chosen):
            yield histogram
    curves = {"score": chosen.score, **{name: chosen.details[name] for name in fractions}}
    for place, (name, values) in enumerate(curves.items()):
        if figure := by_rank(f"rank-{place}", f"{name.capitalize()} by rank", values, chosen.ids):
            yield figure


def _rest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says besides what the report shows elsewhere."""
    shown = {"run": ("fields",), "pool": ("sources",)}
    rest = {name: value for name, value in manifest.items() if name not in ("counts", "verbs", "command")}
    for name, keys in shown.items():
        rest[name] = {key: value for key, value in manifest[name].items() if key not in keys}
    return rest
