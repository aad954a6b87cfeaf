"""What a comparison leaves in its folder: the table, the page, and comparison.json, by which it is known again."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.execute.session import Session
from jobs.engine.pool.pool import Pool
from jobs.engine.report.comparison_page import write_comparison_page
from jobs.engine.samples.pool_folder import known_facts
from jobs.engine.store.folder import Folder
from jobs.engine.store.lock import locked
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.screen import say
from jobs.methods.comparison.contenders import Comparison
from jobs.methods.comparison.costs import computed, cost
from jobs.methods.comparison.losses import fine_tuned, loss_before
from jobs.methods.comparison.measures import Measures
from jobs.methods.comparison.results import Place, Result, overlap
from jobs.methods.comparison.table import cells, markdown, shown_columns
from jobs.methods.held_out import HeldOut

FILE = "comparison.json"


def compared(
    results: Mapping[str, Result], wanted: Comparison, place: Place, held_out: str | None
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, float]], list[str]]:
    """The rows of the selections by name, their overlaps, and notes. Nothing is computed that the store has."""
    known = computed(result.manifest for result in results.values())
    rows: dict[str, dict[str, Any]] = {}
    with locked(place.session.store.url, say):
        pool = Pool.of(place.inputs, place.session)
        measures = Measures(pool, wanted)
        for name, result in results.items():
            spent = cost(result.manifest, known)
            correlation = result.manifest["found"].get("rank correlation with response length")
            rows[name] = {
                "name": name,
                "kept": len(result.kept),
                **measures.of(result),
                "length_correlation": correlation,
                "seconds": spent.seconds,
                "seconds_known": spent.known,
                "passes": spent.passes,
                "tokens": spent.passes * measures.tokens,
            }
        notes = _trained(pool, results, wanted, held_out, rows) if held_out else []
        overlaps = {
            one: {other: overlap(results[one], results[other], pool.samples) for other in results} for one in results
        }
    return rows, overlaps, notes


def _trained(
    pool: Any, results: Mapping[str, Result], wanted: Comparison, held_out: str, rows: dict[str, dict[str, Any]]
) -> list[str]:
    """Adds the held-out losses to the rows. Returns the loss before them, and why some have none."""
    samples = HeldOut.read(pool, held_out)
    before = f"before any fine-tune: held-out loss {loss_before(wanted, samples):.4f}"
    found, without = fine_tuned(pool, results, wanted, samples)
    for name, row in found.rows().items():
        rows[name].update(row)
    for name, why in found.failed.items():
        rows[name]["fine_tune_failed"] = why
    return [before, *(f"{name}: not fine-tuned: {why}" for name, why in {**without, **found.failed}.items())]


def look_into(held_out: str, session: Session) -> None:
    """UsageError where the file of held-out samples has none: that is to be said before hours of work, not after."""
    facts = known_facts([held_out], session.store, session.reading)
    if not facts:
        with locked(session.store.url, say):
            facts = Pool.of([held_out], session).facts
    if not facts["samples"]:
        raise UsageError(f"--heldout {held_out} has no sample to compute a loss of")


def write(
    place: Place,
    rows: Sequence[Mapping[str, Any]],
    overlaps: Mapping[str, Mapping[str, float]],
    notes: Sequence[str],
    asked: Mapping[str, Any],
) -> None:
    """Writes the table, the page, and the JSON, which is the last."""
    done = [row for row in rows if "why" not in row]
    columns = shown_columns(done)
    place.out.write("table.md", markdown(rows, overlaps, notes).encode())
    write_comparison_page(
        place.out,
        summary=f"{', '.join(place.inputs)}: budget {asked['budget']}",
        headings=["method", *(each.heading for each in columns)],
        rows=[[row["name"], *cells(row, columns)] for row in done],
        meanings=[(each.heading, each.meaning) for each in columns],
        overlaps=overlaps,
        losses={row["name"]: (row["loss"], row["loss_low"], row["loss_high"]) for row in done if "loss" in row},
        notes=[*notes, *(f"{row['name']}: not compared: {row['why']}" for row in rows if "why" in row)],
        command=place.session.command,
    )
    content = {"winnow_comparison": 1, "asked": asked, "rows": rows, "overlaps": overlaps, "notes": notes}
    place.out.write(FILE, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def claim(out: Folder, asked: Mapping[str, Any]) -> None:
    """Takes the folder for a comparison. UsageError where it holds something else, or other inputs or settings."""
    if not out.exists(FILE) and out.exists() and out.names():
        raise UsageError(f"{out} is not empty and holds no comparison; give another --out")
    before = _asked_before(out) if out.exists(FILE) else asked
    other = [key for key in ("inputs", "budget", "reading") if before.get(key) != asked[key]]
    if other:
        shown = "; ".join(f"{key} {before.get(key)!r} there, {asked[key]!r} now" for key in other)
        raise UsageError(f"{out} holds another comparison ({shown}); give another --out")
    if not out.exists(FILE):
        out.make()
        out.write(FILE, json.dumps({"winnow_comparison": 1, "asked": asked}).encode())


def _asked_before(out: Folder) -> Mapping[str, Any]:
    """What the comparison in a folder was asked for. UsageError where its file is not one of a comparison."""
    try:
        found = json.loads(out.content(FILE))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("asked"), dict):
        raise UsageError(f"{out}/{FILE} is not of a comparison by Winnow; give another --out")
    return found["asked"]
