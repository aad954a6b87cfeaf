"""The report of a run: one HTML file that needs nothing else, for people who train on the selection."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from jobs.engine.ingest.tasks import fetched
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.selection import Selection
from jobs.engine.report.display import drawn_part
from jobs.engine.report.distributions import details, scores
from jobs.engine.report.excerpts import best, best_dropped, families, faults, some_dropped, some_quarantined, worst
from jobs.engine.report.figures import Figure, by_rank, coverage, lengths
from jobs.engine.report.measures import comparisons, measures
from jobs.engine.report.origin import as_yaml, method, origin, short_names
from jobs.engine.report.pairs import ALIKE, close, pairs
from jobs.engine.report.pool_map import drawn, pool_map
from jobs.engine.report.rendering import write_page
from jobs.engine.report.tables import errors, reasons, verbs
from jobs.engine.report.vectors import Vectors, vectors_of

CURVES = 3
ARXIV = re.compile(r"arXiv[ :](\d{4}\.\d{4,5})")


def write_report(outcome: Outcome) -> None:
    """Writes the report: the counts, the selection compared with its pool, the samples, and what ran."""
    manifest, run, chosen = outcome.manifest, outcome.manifest["run"], outcome.selection
    names = short_names([source["uri"] for source in manifest["pool"]["sources"]])
    vectors = vectors_of(outcome)
    comparing = _started(outcome, vectors) if vectors else None
    found = faults(outcome)
    measured = measures(outcome, names)
    texts = {"response": measured.response, "instruction": measured.instruction}
    covered = coverage(chosen)
    charts = {
        "lengths": [lengths(name, characters, measured) for name, characters in texts.items()],
        "ranking": [*_ranking(chosen)],
        "coverage": [covered] if covered else [],
    }
    alike = _alike(outcome, vectors, comparing, names) if vectors else {"map": None, "pairs": [], "summary": ""}
    page = {
        **origin(manifest),
        **charts,
        "title": f"{run['recipe']}, budget {run['fields'].get('budget')}",
        "method": ARXIV.split(method(run["recipe"])),  # text, number, text, ...
        "records": manifest["counts"]["records"],
        "counts": outcome.counts,
        "finished": str(manifest["finished"]).replace("T", " ").replace("+00:00", " UTC"),
        "seconds": manifest["seconds"],
        "drawn": (
            drawn_part(int(measured.of_pool.sum()), outcome.pool.samples),
            drawn_part(int(measured.of_kept.sum()), len(chosen.ids)),
        ),
        "alike": alike,
        "comparisons": comparisons(measured),
        "reasons": reasons(outcome, found),
        "verbs": verbs(manifest["verbs"]),
        "errors": errors(found),
        "best": best(outcome),
        "worst": worst(outcome),
        "best_dropped": best_dropped(outcome),
        "families": families(outcome),
        "dropped": some_dropped(outcome),
        "quarantined": some_quarantined(outcome, found),
        "names": names,
        "manifest": as_yaml(_rest(manifest)),
    }
    maps = [alike["map"].figure] if alike["map"] else []
    write_page(outcome.desk.out, "report.html", "report.html", page, [*maps, *chain(*charts.values())])


def _started(outcome: Outcome, vectors: Vectors) -> tuple[Any, Any]:
    """Starts the tasks that compare vectors: the map's, and that of the near-duplicates."""
    seed, kept, tasks = outcome.manifest["run"]["fields"].get("seed", 0), outcome.selection.ids, outcome.desk.tasks
    return (
        tasks.started(drawn, vectors, outcome.pool.samples, kept, seed),
        tasks.started(close, vectors, outcome.pool.samples, kept),
    )


def _alike(outcome: Outcome, vectors: Vectors, comparing: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """What the tasks have found: the map, the most similar pairs, and how many kept samples have a near-duplicate."""
    places, near = (fetched(each) for each in comparing)
    found = pool_map(outcome, vectors, places, names)
    size = len(outcome.selection.ids)
    some = "kept samples" if near.compared == size else "best kept samples that have a vector"
    summary = f"{near.alike:,} of {near.compared:,} {some} have a cosine similarity of at least {ALIKE:g} to another."
    return {"map": found, "pairs": pairs(outcome, near), "summary": summary}


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
