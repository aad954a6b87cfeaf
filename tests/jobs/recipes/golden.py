"""What every recipe gave when it was last looked at, so that a change of the code can be seen to change nothing.

python -m tests.jobs.recipes.golden OUT.json          # all runs, in full precision, to compare two states of the code
python -m tests.jobs.recipes.golden OUT.json GOLDEN.json     # and of each recipe's own run what no CPU changes

The first is for one machine, where it is the same from run to run. Names after both files are the only ones to run; the
others stay in GOLDEN.json as they are.
This module knows the product by its command line and its files alone. A file has a line a fact, for `diff`.
"""

import contextlib
import hashlib
import json
import os
import runpy
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.jobs.corpora import jsonl
from tests.jobs.recipes.golden_runs import Models, Run, chats, corpus, reply
from tests.jobs.recipes.golden_variants import RECIPES, runs
from tests.servers import served

COMMITTED = Path(__file__).with_name("golden.json")
LEDGER = ("source", "line", "id", "state", "rank", "score", "reason")
NEAR = 5e-4
"""Scores whose distance is a smaller part of them can change places on another CPU, where a model was trained."""

PLACE = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""What the tests too have in their environment (tests/conftest.py)."""


def shown(value: Any, digits: int = 6) -> Any:
    """A number to so many significant digits; anything else as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def outcome(out: Path) -> dict[str, Any]:
    """What a run has left in its folder, but for its words and its places."""
    manifest = yaml.safe_load((out / "manifest.yaml").read_text())
    rows = pq.read_table(out / "selection.parquet").to_pylist()
    ranked = sorted((row for row in rows if row["rank"]), key=lambda row: row["rank"])
    samples = sorted((row for row in rows if row["state"] in ("kept", "dropped")), key=lambda row: row["id"])
    own = tuple(f"{entry['folder']}/" for entry in manifest["verbs"] if "folder" in entry)
    declared = [entry for entry in manifest["verbs"] if "operator" in entry]
    columns: dict[str, list[list[str]]] = {}
    for entry in declared:
        made = [entry["operator"], entry["fingerprint"]]
        if "map" in entry and made not in columns.setdefault(entry["map"], []):
            columns[entry["map"]].append(made)
    return {
        "kept": [row["id"] for row in ranked],
        "states": dict(sorted(Counter(row["state"] for row in rows).items())),
        "scores": {row["id"]: shown(row["score"]) for row in samples},
        "details": {name: {row["id"]: shown(row[name]) for row in samples} for name in rows[0] if name not in LEDGER},
        "columns": columns,
        "trainings": [entry["fingerprint"] for entry in declared if "train" in entry],
        "of_trained": sorted({entry["fingerprint"] for entry in declared if _of_trained(entry, own)}),
        "facts": sorted(shown(number) for number in _numbers(manifest["found"])),
        "selected": hashlib.sha256((out / "selected.jsonl").read_bytes()).hexdigest(),
    }


def _of_trained(entry: Mapping[str, Any], own: Sequence[str]) -> bool:
    """Whether a declaration has a model in it that this run has trained, and so the rounding of this machine."""
    names = [part[kind] for part in entry["made_of"] for kind in part if kind != "identity"]
    return any(f"{each.get('name') or each.get('file')}/".startswith(tuple(own)) for each in names)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield float(value)


def portable(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of an outcome what every CPU gives: no fingerprint of what is made of weights that the run has trained.

    Those have another content on each CPU. Places and addresses of servers are in no fingerprint.
    """
    columns = {
        name: [made for made in listed if made[1] not in found["of_trained"]]
        for name, listed in found["columns"].items()
    }
    choice = {} if found["of_trained"] and _near(found) else {name: found[name] for name in ("kept", "selected")}
    return {
        **choice,
        "states": found["states"],
        "columns": columns,
        "trainings": [each for each in found["trainings"] if each not in found["of_trained"]],
        "scores": [shown(score, 3) for score in found["scores"].values()],
    }


def comparable(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All outcomes, without the fingerprints of columns under models that the runs have trained.

    An adapter's files name the folder of its base, which is another one each time; the columns' values stay.
    """
    hidden = {fingerprint for run in found.values() for fingerprint in run.get("of_trained", ())}
    plain = {name: dict(run) for name, run in found.items()}
    for run in plain.values():
        run.pop("of_trained", None)
        for column, listed in run.get("columns", {}).items():
            shown_there = [[made[0], None if made[1] in hidden else made[1]] for made in listed]
            run["columns"] = {**run["columns"], column: shown_there}
    store: dict[str, list[str]] = {}
    for name, hashes in found.get("store", {}).items():
        operator, _, fingerprint = name.partition("-")
        known = operator if any(each.startswith(fingerprint or "-") for each in hidden) else name
        store[known] = sorted([*store.get(known, []), *hashes])
    return {**plain, "store": store}


def _near(found: Mapping[str, Any]) -> bool:
    """Whether most scores are so near to the next that a trained model's rounding, each CPU's own, turns them round."""
    scores = np.sort([score for score in found["scores"].values() if score is not None])
    return len(scores) > 1 and float(np.median(np.diff(scores))) < NEAR * float(np.median(np.abs(scores)))


def assert_as_before(recipe: str, out: Path) -> None:
    """The base run of a recipe has given what it gave when golden.json was written; if another is meant, write it anew.

    A score may differ by the rounding of another CPU, which a training of a few steps makes larger.
    """
    expected = json.loads(COMMITTED.read_text())[recipe]
    found = portable(outcome(out))
    scores, before = (np.array(each.pop("scores"), float) for each in (found, expected))
    assert found == expected
    assert scores == pytest.approx(before, rel=0.02, abs=2e-3, nan_ok=True)


def stored(store: Path) -> dict[str, list[str]]:
    """Of each operator the hashes of its columns' values, and of each training those of its weights."""
    found: dict[str, list[str]] = {}
    for operator in sorted((store / "features").iterdir()):
        pools = [pool for pool in operator.iterdir() if pool.is_dir()]
        found[operator.name] = sorted(_values(pool) for pool in pools)
    for weights in sorted((store / "trained").glob("*/**/*.safetensors")):
        found[str(weights.relative_to(store))] = [hashlib.sha256(weights.read_bytes()).hexdigest()]
    return found


def _values(column: Path) -> str:
    """The hash of a column's values by id, however they lie in parts; of an error, that there is one."""
    values: dict[int, Any] = {}
    for part in column.glob("part-*.parquet"):
        for row in pq.read_table(part, columns=["id", "sha", "value", "error"]).to_pylist():
            if row["error"] is None or row["id"] not in values:
                values[row["id"]] = [row["sha"].hex() if isinstance(row["sha"], bytes) else row["sha"], row["value"]]
    return hashlib.sha256(json.dumps(sorted(values.items())).encode()).hexdigest()


def curated(words: Sequence[str], log: Path) -> int:
    """The exit code of `python -m jobs.curate` with these words, in this process, so that Ray is started once."""
    before = sys.argv
    sys.argv = ["curate", *words]
    with log.open("w") as said, contextlib.redirect_stdout(said):
        try:
            runpy.run_module("jobs.curate", run_name="__main__")
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            sys.argv = before
    raise AssertionError("the command did not end by an exit code")


def all_runs(folder: Path, only: Iterable[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """The outcome of each run, with its exit code, by its name; last what the store has of all of them."""
    os.chdir(folder)
    jsonl(folder / "in.jsonl", corpus())
    jsonl(folder / "chats.jsonl", chats())
    with (folder / "chats.jsonl").open("a") as file:
        file.write("{not a record\n")
    with served(reply) as server:
        for name, run in runs(Models(folder / "models", server.url)).items():
            if not only or name in only:
                yield name, _ran(name, run, folder)
    yield "store", stored(folder / "store")


def _ran(name: str, run: Run, folder: Path) -> dict[str, Any]:
    began, out, log = time.monotonic(), folder / "out" / name, folder / f"{name}.log"
    # Of the few records, some are broken on purpose.
    code = curated([*run.words(out), "--max-unreadable", "0.5", "--store", str(folder / "store")], log)
    seconds = time.monotonic() - began
    print(f"{name}: exit {code}, {seconds:.1f} s", flush=True)  # noqa: T201 - for people
    if code not in (0, 3):  # nothing was selected from: what is wrong is said last
        print(log.read_text()[-500:])  # noqa: T201 - for people
        return {"exit": code}
    return {"exit": code, **outcome(out)}


def write(path: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the outcomes, a line a fact."""
    blocks = []
    for name, each in found.items():
        lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in each.items())
        blocks.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines))
    path.write_text("{\n" + "\n},\n".join(blocks) + "\n}\n}\n")


def main(out: str, committed: str = "", *only: str) -> None:
    """Runs everything in a temporary folder and writes what came out."""
    os.environ.update(PLACE)
    began, paths = time.monotonic(), [Path(each).absolute() for each in (out, committed) if each]
    with tempfile.TemporaryDirectory(prefix="golden") as folder:
        found = dict(all_runs(Path(folder), only))
        os.chdir(paths[0].parent)
    write(paths[0], comparable(found))
    if committed:
        others = json.loads(paths[1].read_text()) if only else {}
        new = {name: portable(each) for name, each in found.items() if name in RECIPES}
        write(paths[1], {name: (others | new)[name] for name in RECIPES if name in others | new})
    print(f"{len(found) - 1} runs in {time.monotonic() - began:.0f} s")  # noqa: T201 - for people


if __name__ == "__main__":
    main(*sys.argv[1:])
