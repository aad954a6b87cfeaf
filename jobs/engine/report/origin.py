"""Where a selection comes from: its method and its files, as both the report and the card name them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from jobs.engine.record.entries import besides, hash_of, uses
from jobs.engine.terminal.modules import docstring, recipe_file

FILES_LISTED = 200
REPEAT = "winnow curate --config manifest.yaml --out again"


class File(NamedTuple):
    """One input file of a run."""

    name: str
    formats: str
    sha256: str
    records: int
    samples: int
    bytes: int


def origin(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the pages of a run say of its origin; besides: the files read besides the inputs, each with its hash."""
    run, pool = manifest["run"], manifest["pool"]
    listed = files(pool)
    return {
        "recipe": run["recipe"],
        "seed": run["fields"].get("seed"),
        "fields": as_yaml(run["fields"]),
        "uses": uses(manifest["verbs"]),
        "besides": besides(manifest["verbs"]),
        "files": listed,
        "files_left_out": len(pool["sources"]) - len(listed),
        "command": manifest["command"],
        "repeat": REPEAT,
    }


def files(pool: Mapping[str, Any]) -> list[File]:
    """The first FILES_LISTED input files of the pool that a manifest describes."""
    names = short_names([source["uri"] for source in pool["sources"]])
    return [
        File(
            names[source["uri"]],
            ", ".join(source.get("formats") or {}),
            hash_of(source),
            *(source[count] for count in ("records", "samples", "bytes")),
        )
        for source in pool["sources"][:FILES_LISTED]
    ]


def short_names(sources: Sequence[str]) -> dict[str, str]:
    """The name of each source without the folders that all sources have in common.

    >>> short_names(["/data/a/x.jsonl", "/data/b/x.jsonl"])
    {'/data/a/x.jsonl': 'a/x.jsonl', '/data/b/x.jsonl': 'b/x.jsonl'}
    """
    split = [source.split("/") for source in sources]
    common = 0
    while split and all(len(parts) > common + 1 and parts[common] == split[0][common] for parts in split):
        common += 1
    return {source: "/".join(parts[common:]) for source, parts in zip(sources, split, strict=True)}


def method(recipe: str) -> str:
    """The first paragraph of a recipe's docstring, which names the paper; the recipe's name where it has no file."""
    file = recipe_file(recipe)
    return " ".join(docstring(file).split("\n\n")[0].split()) if file.exists() else recipe


def as_yaml(values: Mapping[str, Any]) -> str:
    """The values as YAML that people can read."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True).rstrip()
