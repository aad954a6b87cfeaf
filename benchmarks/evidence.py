"""What does each method keep of each kind of sample, and does a model learn more from it than from a random selection?

    python -m benchmarks.evidence [--samples 1200] [--data FOLDER] [--folder FOLDER] [--write docs/evidence.md]

Compares all methods and the controls with `winnow compare`: on a planted corpus, whose samples are ordinary, rare,
near-duplicates, junk, wrong answers, or of a target kind; and, with --data, on alpaca_9k.json and dolly_3k.json in that
folder. All models are small and made on the spot (_small_models.py); a server that answers by a rule is the judge
(_scripted_judge.py). Prints a JSON line per selection, and writes the tables into the file, each between its markers.
In a --folder, a run that was stopped goes on where it was. `ratio` is the held-out loss over that of random selections.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._made import records, say_beside
from benchmarks._scripted_judge import serving
from benchmarks._small_models import models
from jobs.demo.corpus import corpus

METHODS = (
    "ltd", "deft", "alpagasus", "deita", "lift", "mods", "lobass", "less", "data_diet", "nlu_diet", "instructmining",
    "ifd", "perplexity", "rds",
)  # fmt: skip
KINDS = ("ordinary", "rare", "near_duplicate", "junk", "wrong", "target")
WRONG, TARGETS, HELD_OUT = 0.1, 40, 60
TRAIN = {"epochs": 1, "learning_rate": 1e-3, "precision": "float32", "max_tokens": 200}
LORA = {"rank": 4, "alpha": 16.0, "dropout": 0.0}


def planted(samples: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """The corpus, the target samples and the held-out samples; a record's `kind` says what it is.

    A tenth of the ordinary samples gets the answer of another one. The target kind is one topic of the demo's corpus;
    targets and held-out samples are of it, and the corpus has the rest.
    """
    drawn = random.Random(seed)
    made: list[dict[str, Any]] = list(corpus(samples + TARGETS + HELD_OUT, seed))
    ordinary = [each for each in made if each["kind"] == "ordinary"]
    topics: dict[str, list[dict[str, Any]]] = {}
    for each in ordinary:
        topics.setdefault(each["topic"], []).append(each)
    kind = max(topics, key=lambda topic: len(topics[topic]))
    for each in topics[kind]:
        each["kind"] = "target"
    aside = drawn.sample(topics[kind], min(TARGETS, len(topics[kind]) // 2))
    others = [each for each in ordinary if each["kind"] == "ordinary"]
    held_out = [*aside[len(aside) // 2 :], *drawn.sample(others, HELD_OUT)]
    out = {id(each) for each in (*aside, *held_out)}
    kept = [each for each in made if id(each) not in out][:samples]
    wrong = drawn.sample([each for each in kept if each["kind"] == "ordinary"], round(WRONG * samples))
    answers = [each["output"] for each in wrong]
    for each, answer in zip(wrong, [*answers[1:], *answers[:1]], strict=True):
        each.update(output=answer, kind="wrong")
    return kept, aside[: len(aside) // 2], held_out


def real(data: Path, seed: int) -> tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]:
    """The files, 20 targets of Dolly's categories, and 200 held-out samples of the same kind that are made from both.

    The targets and the held-out samples are copies of records of the files: they say how a selection serves the
    files' own distribution, and not how a model generalises beyond them.
    """
    drawn = random.Random(seed)
    files = [data / name for name in ("alpaca_9k.json", "dolly_3k.json")]
    of_files = [[each for each in records(file) if each["output"].strip()] for file in files]
    asked = {json.dumps(each, sort_keys=True): each for each in drawn.sample(of_files[1], 40)}
    targets = [{**each, "subtask": each["category"]} for each in list(asked.values())[:20]]
    held_out = [each for some in of_files for each in drawn.sample(some, 100)]
    return [str(file) for file in files], targets, held_out


def jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """The path, with a line for each row."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def configuration(made: Mapping[str, Path], url: str, targets: str, label: str) -> dict[str, Any]:
    """The fields with which every method runs here; label: the field of the records with a class."""
    base = {"name": str(made["base"])}
    train = {"base": base, "lora": LORA, **TRAIN}
    scripted = {"endpoint": url, "model": {"name": "scripted"}}
    loss = {"model": base, "max_tokens": 200}
    reward = {"model": {"name": str(made["reward"])}, "max_tokens": 256, "pair": "segments"}
    return {
        "ltd": {},
        "deft": {"embed": {"text": "{conversation}"}, "label": {"name": label}},
        "alpagasus": {"judge": scripted, "threshold": 4},
        "deita": {name: {"model": {"name": str(made[name])}} for name in ("complexity", "quality")},
        "lift": {"rewrite": scripted, "respond": scripted, "judge": scripted, "rounds": 1, "max_lost": 1.0},
        "mods": {"reward": reward, "quality": 0.5, "seed_share": 1.0},
        "lobass": {"train": train},
        "less": {"train": train, "target": targets},
        "data_diet": {"train": train, "runs": 2},
        "nlu_diet": {
            "train": {
                "base": {"name": str(made["encoder"])}, "labels": {"label": label, "slots": None, "words": None},
                "epochs": 2, "batch": 32, "max_tokens": 128, "precision": "float32",
            },
            "full_epochs": 1, "every": 1,
        },
        "instructmining": {
            "reward": reward, "unieval": {"model": {"name": str(made["unieval"])}, "max_tokens": 256},
            "models": "vouched",
        },
        "ifd": {"loss": loss}, "perplexity": {"loss": loss},
        "rds": {"hidden": {"model": base, "max_tokens": 200}, "target": targets},
    }  # fmt: skip


def compared(
    inputs: Sequence[str], targets: Sequence[Any], held_out: Sequence[Any], label: str, budget: str, folder: Path
) -> dict[str, Any]:
    """The content of comparison.json. The models are made in the folder, and the base is trained on the targets."""
    from jobs import compare, finetune
    from jobs.engine.terminal.program import exit_code

    texts = [f"{each['instruction']} {each['output']}" for file in inputs for each in records(Path(file))]
    made = models(folder / "models", texts)
    store = ["--store", str(folder / "store")]
    base, begun = folder / "models" / "base", jsonl(folder / "begun.jsonl", held_out[::2])
    fields = [f"{name}={value}" for name, value in {**TRAIN, "epochs": 6, "batch": 8, "lora": "none"}.items()]
    _run(exit_code, finetune.main, [begun, "--out", str(base), *store, f"base.name={made['start']}", *fields])
    asked, held = jsonl(folder / "targets.jsonl", targets), jsonl(folder / "held_out.jsonl", held_out[1::2])
    with serving() as url:
        entries = configuration({**made, "base": base}, url, asked, label)
        config = folder / "recipes.json"  # JSON is YAML
        common = {"max_errors": 0.5}
        config.write_text(json.dumps({name: {"fields": {**fields, **common}} for name, fields in entries.items()}))
        train = [f"train.{name}={value}" for name, value in {**TRAIN, "lora": "none", "epochs": 2}.items()]
        words = [*inputs, "--out", str(folder / "out"), *store, "--config", str(config), "--budget", budget]
        _run(exit_code, compare.main, [*words, "--finetune", str(base), "--heldout", held, "max_errors=0.1", *train])
    return json.loads((folder / "out" / "comparison.json").read_text())


def _run(exit_code: Callable[..., int], command: Callable[..., int], words: Sequence[str]) -> None:
    code = exit_code(lambda: command(words))
    if code not in (0, 1):
        raise SystemExit(code)


def kinds_kept(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Of each selection how many of its samples are of each kind; a sample that a recipe made is "new"."""
    found = {}
    for row in rows:
        lines = (folder / "out" / row["name"] / "selected.jsonl").read_text(encoding="utf-8").splitlines()
        kept = [json.loads(line).get("kind", "new") for line in lines]
        found[row["name"]] = {kind: kept.count(kind) for kind in (*KINDS, "new")}
    return found


def section(name: str, command: str, table: str, more: str, file: Path) -> None:
    """Replaces what stands between a section's markers in the file."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    body = f"```\n{command}\n```\n\n{more}{table}"
    file.write_text(f"{before}{begin}\n{body}\n{end}{after}", encoding="utf-8")


def kinds_table(found: Mapping[str, Mapping[str, int]], totals: Mapping[str, int]) -> str:
    """The table of what is kept of each kind, in Markdown."""
    names = [*KINDS, "new"]
    lines = [f"| method | {' | '.join(names)} |", f"| --- | {' | '.join('---:' for _ in names)} |"]
    lines.append(f"| *in the corpus* | {' | '.join(str(totals.get(name, 0)) for name in names)} |")
    lines += [f"| {method} | {' | '.join(str(kept[name]) for name in names)} |" for method, kept in found.items()]
    return "\n".join(lines) + "\n\n"


def main() -> None:
    """Prints the JSON lines, and writes the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=1200, help="samples of the planted corpus; 0: none is made")
    parser.add_argument("--data", type=Path, help="the folder with alpaca_9k.json and dolly_3k.json")
    parser.add_argument("--folder", type=Path, help="a folder to work in; a temporary one if not given")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--write", type=Path, help="the page whose tables are written")
    given = parser.parse_args()
    say_beside()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if given.samples:
            _planted(folder / "planted", given)
        if given.data:
            _real(folder / "real", given)


def _planted(folder: Path, given: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows, targets, held_out = planted(given.samples, given.seed)
    pool = jsonl(folder / "planted.jsonl", rows)
    found = compared([pool], targets, held_out, "topic", "10%", folder)
    done = [row for row in found["rows"] if "why" not in row]
    kept = kinds_kept(folder, done)
    totals = {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS}
    _printed("planted", found, {name: {"kinds": each} for name, each in kept.items()})
    if given.write:
        table = (folder / "out" / "table.md").read_text(encoding="utf-8")
        command = f"python -m benchmarks.evidence --samples {given.samples} --seed {given.seed}"
        section("planted", command, table, kinds_table(kept, totals), given.write)


def _real(folder: Path, given: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files, targets, held_out = real(given.data, given.seed)
    found = compared(files, targets, held_out, "category", "5%", folder)
    _printed("real", found, {})
    if given.write:
        table = (folder / "out" / "table.md").read_text(encoding="utf-8")
        command = f"python -m benchmarks.evidence --samples 0 --data FOLDER --seed {given.seed}"
        section("real", command, table, "", given.write)


def _printed(corpus_name: str, found: Mapping[str, Any], more: Mapping[str, Mapping[str, Any]]) -> None:
    drawn = [row["loss"] for row in found["rows"] if row["name"].startswith("random-") and "loss" in row]
    for row in found["rows"]:
        ratio = {"ratio": row["loss"] / (sum(drawn) / len(drawn))} if "loss" in row and drawn else {}
        line = {"benchmark": "evidence", "corpus": corpus_name, **row, **ratio, **more.get(row["name"], {})}
        print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
