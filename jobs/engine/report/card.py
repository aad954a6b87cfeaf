"""The dataset card: README.md beside the selection, as the Hugging Face hub reads it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import yaml

from jobs.engine.outcome.outcome import Outcome
from jobs.engine.record.entries import Entry, besides, hash_of, uses
from jobs.engine.report.markup import percent
from jobs.engine.report.measures import short_names
from jobs.engine.store.writing import write_atomically
from jobs.engine.terminal.modules import docstring, recipe_file

SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7),
         ("10M<n<100M", 10**8), ("100M<n<1B", 10**9))  # fmt: skip

SOURCES_LISTED = 200
REPEAT = "winnow curate --config manifest.yaml --out again"

NOT_GUESSED = """\
# The licence and the languages are not guessed. Look up what the sources allow, then name them here.
"""

FILES = """\
| file | what it holds |
|---|---|
| `selected.jsonl` | the kept records, best first, each as it came in |
| `selection.parquet` | one row for every record read: source, line, id, state, rank, score, reason |
| `quarantine.jsonl` | the records that could not be used, with the reason |
| `manifest.yaml` | everything the run was made from, and what `--config` reads to repeat it |
| `report.html` | the selection against its pool, for reading |
"""

LIMITATIONS = """\
- The records come from the sources above and keep their licences. Winnow has not looked at those: check them before
  the selection is used or published, and replace `license: other` by what they say.
- The selection has what its sources have: errors, personal data and bias in them were not looked for.
- What a method ranks by is a stand-in for usefulness. Compare with `at_random` at the same budget before relying on it.
- Only exact duplicates were removed: records that are the same in all fields but ids, sources and dates.
"""


def write_card(outcome: Outcome, path: Path) -> None:
    """Writes README.md: the hub's header, and for people what was selected, from what, how, and how to repeat it."""
    run = outcome.manifest["run"]
    parts = [_header(outcome), f"# {run['recipe']}, budget {run['fields'].get('budget')}", _summary(outcome),
             "## Files", FILES, "## Method", *_method(run), "## Models", *_models(outcome.manifest["verbs"]),
             "## Sources", _sources(outcome.manifest["pool"]), "## Repeat it", *_repeat(outcome.manifest),
             "## Limitations", LIMITATIONS]  # fmt: skip
    content = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    write_atomically(fsspec.filesystem("file"), str(path), content.encode("utf-8", "backslashreplace"))


def method(recipe: str) -> str:
    """What a recipe's module says it is: the first paragraph of its docstring, with the paper."""
    file = recipe_file(recipe)
    return " ".join(docstring(file).split("\n\n")[0].split()) if file.exists() else recipe


def _header(outcome: Outcome) -> str:
    recipe = outcome.manifest["run"]["recipe"]
    kept = outcome.counts["kept"]
    uris = [source["uri"] for source in outcome.manifest["pool"]["sources"]]
    header = {
        "pretty_name": f"{recipe} selection of {kept:,} samples",
        "license": "other",
        "license_name": "see-sources",
        "size_categories": [
            next((name for name, below in SIZES if kept < below), "n>1T" if kept >= 10**12 else "1B<n<10B")
        ],
        "task_categories": ["text-generation"],
        "tags": ["winnow", "data-selection", "instruction-tuning", recipe],
        "source_files": list(short_names(uris).values())[:SOURCES_LISTED],
        # Without it the hub would read selection.parquet and quarantine.jsonl as samples too.
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "selected.jsonl"}]}],
    }
    if hub := _hub_datasets(uris):
        header["source_datasets"] = hub
    return f"---\n{NOT_GUESSED}{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---"


def _hub_datasets(uris: Sequence[str]) -> list[str]:
    """The hub's datasets among the sources, as owner/name."""
    names = ["/".join(uri.split("@")[0].split("/")[3:5]) for uri in uris if uri.startswith("hf://datasets/")]
    return sorted(set(names))


def _summary(outcome: Outcome) -> str:
    counts = outcome.counts
    records = outcome.manifest["counts"]["records"]
    rows = [("read", records), *counts.items()]
    listed = _table(("records", "count", "share"), [(state, f"{number:,}", percent(number / max(records, 1)))
                                                     for state, number in rows])  # fmt: skip
    return (
        f"{counts['kept']:,} instruction-tuning samples that Winnow selected from {records:,} records "
        f"with the recipe `{outcome.manifest['run']['recipe']}`.\n\n{listed}\n\n"
        "Every record read is in one of the four states; `selection.parquet` says which, and why."
    )


def _method(run: Mapping[str, Any]) -> Iterator[str]:
    yield method(run["recipe"])
    published = (
        "as the authors' code does it, with the paper's models" if run.get("as_published") else "Winnow's defaults"
    )
    seed = run["fields"].get("seed")
    yield f"Setting: {published}, and these fields. Every random choice follows from `seed: {seed}`."
    yield _fenced("yaml", yaml.safe_dump(dict(run["fields"]), sort_keys=False, allow_unicode=True))


def _models(verbs: Sequence[Entry]) -> Iterator[str]:
    """What was computed and trained, by which models; and the target files, which count as much as they do."""
    used = uses(verbs)
    if not used:
        yield "The recipe computes no features and uses no models."
        return
    yield _table(("what", "by", "fingerprint", "models"), used)
    if targets := besides(verbs):
        yield "Read besides the sources, as targets or examples:"
        yield _table(("file", "SHA-256"), targets)


def _sources(pool: Mapping[str, Any]) -> str:
    names = short_names([source["uri"] for source in pool["sources"]])
    rows = [
        (names[source["uri"]], f"{source['records']:,}", f"{source['samples']:,}", f"{source['bytes']:,}",
         ", ".join(source.get("formats") or {}) or "none", hash_of(source))
        for source in pool["sources"][:SOURCES_LISTED]
    ]  # fmt: skip
    listed = _table(("file", "records", "samples", "bytes", "formats", "SHA-256"), rows)
    more = len(pool["sources"]) - SOURCES_LISTED
    listed += f"\n\nAnd {more:,} more files; `manifest.yaml` has all." if more > 0 else ""
    return f"{listed}\n\nFingerprint of the pool (the hash of its samples' contents): `{pool['fingerprint']}`."


def _repeat(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "With the sources where `manifest.yaml` names them, this gives the same selection:"
    yield _fenced("sh", REPEAT)
    versions = ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items())
    yield f"It was made with {versions}, by the command" if versions else "It was made by the command"
    yield _fenced("sh", manifest["command"])


def _fenced(language: str, text: str) -> str:
    """A code block that no text in it can close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """The text in one cell of a Markdown table, with what could be HTML or a cell's end made harmless."""
    flat = " ".join(str(text).split())
    for special, plain in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("`", "\\`"), ("[", "\\[")):
        flat = flat.replace(special, plain)
    return flat
