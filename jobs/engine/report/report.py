"""The report of a run: one HTML file that needs nothing else, for people who train on the selection."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import fsspec
import numpy as np
import yaml
from plotly.offline import get_plotlyjs

from jobs.engine.outcome.ledger import STATES, failures
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.record.entries import Use, besides, hash_of, uses
from jobs.engine.report.card import REPEAT, method
from jobs.engine.report.excerpts import Fault, best, cards, faults, set_aside, some_dropped
from jobs.engine.report.figures import Figure, by_rank, coverage, lengths, scores
from jobs.engine.report.markup import Cell, Markup, clipped, comparison, escaped, percent, table
from jobs.engine.report.measures import LOOKED_AT, Measures, composition, measures, short_names
from jobs.engine.store.writing import write_atomically

PAGE = Path(__file__).with_name("report.html")
DRAW = """
for (const figure of JSON.parse(document.getElementById("figures").textContent))
  Plotly.newPlot(figure.id, figure.data, figure.layout, {responsive: true, displayModeBar: false});
"""
CURVES = 3
COUNTED = ("samples", "stored", "taken_over", "computed", "failed")
CODE_CHARACTERS, SOURCES_SHOWN = 12_000, 200
NOTES = {
    "script": (
        "Of the letters of a conversation, the script that most belong to. Unreadable: of a script's own samples in "
        "the pool, those that the tokenizer of some model does not know."
    ),
    "turns": "A turn is an instruction with its response.",
}
ARXIV = re.compile(r"arXiv[ :](\d{4}\.\d{4,5})")


def write_report(outcome: Outcome, path: Path) -> None:
    """Writes the report: the counts, the selection against its pool, the samples, and what ran."""
    failed = failures(outcome.selection)
    found = faults(outcome.pool, failed)
    measured = measures(outcome)
    names = short_names([source["uri"] for source in outcome.manifest["pool"]["sources"]])
    against = [lengths("response", measured), lengths("instruction", measured)]
    ranking = [*_ranking(outcome)]
    covered = coverage(outcome.selection)
    used = uses(outcome.manifest["verbs"])
    sections = {
        "Against the pool": _against(outcome, measured, against, names),
        "Scores": _panels(ranking),
        "Coverage": _panels([covered] if covered else []),
        "Reasons": _reasons(outcome, failed, found),
        "What ran": _ran(outcome.manifest),
        "Models": table(Use._fields, used, texts=4) if used else "",
        "Errors": _errors(found),
        "Best kept": cards("kept", "The first lines of selected.jsonl.", best(outcome), names),
        "Dropped": cards("dropped", "A random choice, by the recipe's seed.", some_dropped(outcome, failed), names),
        "Quarantined": cards("quarantined", "Some of quarantine.jsonl, one of each kind before a second of any.",
                             set_aside(outcome.pool, failed, found), names),
        "Inputs and fields": _settings(outcome.manifest, names),
    }  # fmt: skip
    figures = [*against, *ranking, *([covered] if covered else [])]
    page = _page(outcome, {name: body for name, body in sections.items() if body}, figures)
    write_atomically(fsspec.filesystem("file"), str(path), page.encode("utf-8", "backslashreplace"))


def _page(outcome: Outcome, sections: Mapping[str, str], figures: list[Figure]) -> str:
    plotly = get_plotlyjs()
    # Every < is escaped, so that no text in the figures can end the script element.
    data = json.dumps([figure.plain() for figure in figures], allow_nan=False).replace("<", "\\u003c")
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in (plotly, DRAW))
    # Nothing may be loaded, and no script runs but these two, whatever a record has in it.
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    names = {name: name.lower().replace(" ", "-") for name in sections}
    links = "".join(f'<a href="#{anchor}">{name}</a>' for name, anchor in names.items())
    body = "".join(
        f'<section id="{names[name]}"><h2>{name}</h2>{content}</section>' for name, content in sections.items()
    )
    run = outcome.manifest["run"]
    title = escaped(f"{run['recipe']}, budget {run['fields'].get('budget')}")
    head = f"{_head(outcome, title)}<nav>{links}</nav>"
    return Template(PAGE.read_text("utf-8")).substitute(
        policy=policy, title=title, body=head + body, figures=data, plotly=plotly, draw=DRAW
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _head(outcome: Outcome, title: Markup) -> str:
    manifest, counts = outcome.manifest, outcome.counts
    records = manifest["counts"]["records"]
    tiles = [("records", "records in", records)]
    tiles += [(state, {"duplicate": "duplicates"}.get(state, state), counts[state]) for state in STATES]
    shown = "".join(
        f'<div class="tile {kind}"><b>{number:,}</b><span>{name}'
        f"{'' if kind == 'records' else ', ' + percent(number / max(records, 1))}</span></div>"
        for kind, name, number in tiles
    )
    parts = "".join(
        f'<div class="fill-{kind}" style="flex-grow:{number}"></div>' for kind, _, number in tiles[1:] if number
    )
    linked = ARXIV.sub(
        r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv \1</a>', escaped(method(manifest["run"]["recipe"]))
    )
    total = " + ".join(f"{number:,}" for _, _, number in tiles[1:])
    finished = str(manifest["finished"]).replace("T", " ").replace("+00:00", " UTC")
    facts = f"Finished {finished} after {manifest['seconds']:,.1f} s; seed {manifest['run']['fields'].get('seed')}."
    return (
        f'<div class="eyebrow">Winnow selection</div><h1>{title}</h1><p>{linked}</p>'
        f'<div class="tiles">{shown}</div><div class="parts">{parts}</div>'
        f'<p class="note">{total} = {sum(counts.values()):,} records in. {escaped(facts)}</p>'
    )


def _against(outcome: Outcome, measured: Measures, figures: list[Figure], names: Mapping[str, str]) -> str:
    pool, kept = outcome.pool.samples, len(outcome.selection.ids)
    looked = [
        f"a random {LOOKED_AT:,} of the {size:,}" if size > LOOKED_AT else f"all {size:,}" for size in (pool, kept)
    ]
    note = f"From {looked[0]} pool samples and {looked[1]} kept samples. The pool includes the kept samples."
    tables = []
    for title, labels in measured.labels.items():
        renamed = np.array([names.get(label, label) for label in labels], object)
        shares = composition(renamed, measured)
        more = "unreadable" if title == "script" else ""
        shown = shares if more else [share[:3] for share in shares]
        tables.append(comparison(title, NOTES.get(title, ""), sorted(shown) if title == "turns" else shown, more))
    return f'<p class="note">{note}</p><div class="grid">{"".join(map(_panel, figures))}{"".join(tables)}</div>'


def _ranking(outcome: Outcome) -> Iterator[Figure]:
    """The scores, and by rank the scores and the first details that are no whole numbers."""
    chosen = outcome.selection
    if histogram := scores(chosen):
        yield histogram
    curves = {"score": chosen.score} | {
        name: values for name, values in chosen.details.items() if values.dtype.kind == "f"
    }
    for place, (name, values) in enumerate([*curves.items()][:CURVES]):
        if figure := by_rank(f"rank-{place}", f"{name.capitalize()} by rank", values[chosen.ids]):
            yield figure


def _panels(figures: list[Figure]) -> str:
    """The charts two in a row; the first of an odd number takes a row."""
    wide = figures[: len(figures) % 2]
    shown = "".join(_panel(figure, "wide" if figure in wide else "") for figure in figures)
    return f'<div class="grid">{shown}</div>' if figures else ""


def _panel(figure: Figure, width: str = "") -> str:
    return (
        f'<div class="panel {width}"><h3>{escaped(figure.title)}</h3>'
        f'<p class="note">{escaped(figure.caption)}</p>'
        f'<div class="chart" id="{figure.anchor}" role="img" aria-label="{escaped(figure.title)}"></div></div>'
    )


def _reasons(outcome: Outcome, failed: Mapping[int, str], found: list[Fault]) -> str:
    chosen, counts = outcome.selection, outcome.counts
    kept = np.zeros(len(chosen.reason), bool)
    kept[chosen.ids] = True
    dropped = ~kept
    dropped[list(failed)] = False
    rows: list[tuple[str, str, int]] = []
    for state, mask in (("kept", kept), ("dropped", dropped)):
        held = np.bincount(chosen.reason[mask], minlength=len(chosen.reasons))
        rows += [
            (state, chosen.reasons[place], int(held[place]))
            for place in np.argsort(-held, kind="stable")
            if held[place]
        ]
    if counts["duplicate"]:
        rows.append(
            ("duplicate", "the same record as an earlier one, but for ids, sources and dates", counts["duplicate"])
        )
    rows += [("quarantined", f"{fault.where}: {fault.kind}", fault.count) for fault in found]
    records = max(outcome.manifest["counts"]["records"], 1)
    total = sum(count for _, _, count in rows)
    cells: list[tuple[Cell, ...]] = [(state, reason, count, percent(count / records)) for state, reason, count in rows]
    return table(
        ("state", "reason", "records", "of all"), [*cells, ("all", "", total, percent(total / records))], texts=2
    )


def _ran(manifest: Mapping[str, Any]) -> str:
    rows = []
    for entry in manifest["verbs"]:
        verb, of = next(iter(entry.items()))
        named = f"{len(of):,} {'inputs' if verb == 'read' else 'subtasks'}" if isinstance(of, list) else str(of)
        operator = entry.get("operator") or ", ".join(entry.get("columns", []))
        numbers = [entry.get(key) for key in COUNTED]
        rows.append((verb, named, operator, *numbers, f"{entry.get('seconds', 0):,.1f}"))
    note = "Stored: there from an earlier run. Taken over: known from another pool that shares samples with this one."
    columns = ("verb", "what", "operator or columns", *(key.replace("_", " ") for key in COUNTED), "seconds")
    return f'<p class="note">{note}</p>{table(columns, rows, texts=3)}'


def _errors(found: list[Fault]) -> str:
    if not found:
        return '<p class="note">None: every record was read and every feature was computed.</p>'
    rows = [(fault.where, fault.kind, clipped(fault.example, 400), fault.count) for fault in found]
    return table(("where", "kind", "for example", "records"), rows, texts=3)


def _settings(manifest: Mapping[str, Any], names: Mapping[str, str]) -> str:
    run, pool = dict(manifest["run"]), dict(manifest["pool"])
    fields, sources = run.pop("fields"), pool.pop("sources")
    rows = [
        (names[each["uri"]], ", ".join(each.get("formats") or {}), hash_of(each),
         each["records"], each["samples"], each["bytes"])
        for each in sources[:SOURCES_SHOWN]
    ]  # fmt: skip
    listed = table(("file", "formats", "SHA-256", "records", "samples", "bytes"), rows, texts=3)
    if len(sources) > SOURCES_SHOWN:
        listed += f'<p class="note">and {len(sources) - SOURCES_SHOWN:,} more files; manifest.yaml has all</p>'
    if others := besides(manifest["verbs"]):
        listed += (
            f'<p class="note">Read besides, as targets or examples:</p>{table(("file", "SHA-256"), others, texts=2)}'
        )
    rest = {**manifest, "run": run, "pool": pool}
    shown = {name: value for name, value in rest.items() if name not in ("counts", "verbs", "command")}
    return (
        f'{listed}<div class="grid">'
        f'<div class="panel"><h3>Fields of {escaped(run["recipe"])}</h3>{_code(_yaml(fields))}</div>'
        f'<div class="panel"><h3>From the manifest</h3>{_code(_yaml(shown))}</div>'
        f'<div class="panel wide"><h3>Command</h3>{_code(manifest["command"])}'
        f"<h3>To repeat it</h3>{_code(REPEAT)}</div></div>"
    )


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def _code(text: str) -> str:
    return f'<pre class="code">{escaped(clipped(text.rstrip(), CODE_CHARACTERS))}</pre>'
