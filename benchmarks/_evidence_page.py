"""The page of the evidence: what a comparison has found, between the markers of its section."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._evidence_data import KINDS, Data

VERDICTS = ("better", "worse", "no difference shown")


class Spent(NamedTuple):
    """What a process took."""

    seconds: float
    processor: float
    """The seconds of processors, its children's included; fewer than `seconds` where it waited for others."""


def section(name: str, command: str, table: str, more: str, file: Path) -> None:
    """Replaces what stands between a section's markers in the file."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    body = f"```\n{command}\n```\n\n{more}{table}"
    file.write_text(f"{before}{begin}\n{body}\n{end}{after}", encoding="utf-8")


def kinds_kept(out: Path, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of each selection how many of its samples are of each kind; a sample that a recipe made is "new"."""
    found = {}
    for name in names:
        lines = (out / name / "selected.jsonl").read_text(encoding="utf-8").splitlines()
        kept = [json.loads(line).get("kind", "new") for line in lines]
        found[name] = {kind: kept.count(kind) for kind in (*KINDS, "new")}
    return found


def kinds_table(found: Mapping[str, Mapping[str, int]], totals: Mapping[str, int]) -> str:
    """The table of what is kept of each kind, in Markdown."""
    names = [*KINDS, "new"]
    lines = [f"| method | {' | '.join(names)} |", f"| --- | {' | '.join('---:' for _ in names)} |"]
    lines.append(f"| *in the corpus* | {' | '.join(str(totals.get(name, 0)) for name in names)} |")
    lines += [f"| {method} | {' | '.join(str(kept[name]) for name in names)} |" for method, kept in found.items()]
    return "\n".join(lines) + "\n\n"


def told(data: Data, found: Mapping[str, Any], settings: Mapping[str, str], again: Spent) -> str:
    """What stands above a table: the data, the settings, what a second run took, and who differs from random."""
    files = ", ".join(f"{name} with {len(rows):,} records" for name, rows in data.files.items())
    lines = [
        f"- Corpus: {files}; budget {found['asked']['budget']}. Kept apart from it: {len(data.targets)} targets, "
        f"{len(data.begun)} records on which the base is trained, {len(data.held_out)} held-out records.",
        *(f"- {name}: {text}." for name, text in settings.items()),
        f"- The same `winnow compare` again, as a process of its own: {again.seconds:.0f} s, with a processor for "
        f"{again.processor:.0f} s of them.",
    ]
    for verdict in VERDICTS:
        names = [row["name"] for row in found["rows"] if row.get("against_random") == verdict]
        lines.append(f"- Against random, {verdict}: {', '.join(names) or 'none'}.")
    return "\n".join(lines) + "\n\n"
