"""What does each method keep of each kind of sample, and does a model learn more from it than from a random selection?

    python -m benchmarks.evidence [--samples 1200] [--data FOLDER] [--folder FOLDER] [--write PAGE]

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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
WRONG = 0.1
"""The share of a planted corpus whose answers are those of others."""

TARGETS, HELD_OUT, BEGUN = 20, 200, 600
"""How many target and held-out samples there are, and how many the base of the fine-tunes is trained on before."""

TRAIN = {"epochs": 1, "learning_rate": 1e-3, "precision": "float32", "max_tokens": 200}
BASE = {**TRAIN, "epochs": 6, "learning_rate": 3e-3, "batch": 8, "lora": "none"}
FINETUNE = {**TRAIN, "epochs": 2, "lora": "none"}
LORA = {"rank": 4, "alpha": 16.0, "dropout": 0.0}
EMBED = {"text": "{conversation}", "max_tokens": 128}


@dataclass(frozen=True)
class Data:
    """What a comparison is made on. No sample is in two of the four."""

    files: Mapping[str, Sequence[Mapping[str, Any]]]
    """The records of the corpus by the names of its files."""
    targets: Sequence[Mapping[str, Any]]
    begun: Sequence[Mapping[str, Any]]
    """What the base of the fine-tunes is trained on before."""
    held_out: Sequence[Mapping[str, Any]]


def planted(samples: int, seed: int) -> Data:
    """A corpus whose records say by `kind` what they are.

    A tenth of the samples has the answer of another one. The target kind is one topic of the demo's corpus. Targets and
    a tenth of the held-out samples are of it; the others of these, and all that the base is trained on, are ordinary.
    Neither has a near-duplicate in the corpus.
    """
    drawn = random.Random(seed)
    aside = TARGETS + HELD_OUT + BEGUN
    made: list[dict[str, Any]] = list(corpus(2 * aside + samples, seed))
    groups = Counter(each["group"] for each in made)
    single = [each for each in made if each["kind"] == "ordinary" and groups[each["group"]] == 1]
    kind = Counter(each["topic"] for each in single).most_common(1)[0][0]
    for each in made:
        if each["topic"] == kind and each["kind"] == "ordinary":
            each["kind"] = "target"
    targets = drawn.sample([each for each in single if each["kind"] == "target"], TARGETS + HELD_OUT // 10)
    others = drawn.sample([each for each in single if each["kind"] == "ordinary"], HELD_OUT * 9 // 10 + BEGUN)
    out = {id(each) for each in (*targets, *others)}
    rest = [each for each in made if id(each) not in out]
    kept = [rest[at] for at in sorted(drawn.sample(range(len(rest)), samples))]
    wrong = drawn.sample([each for each in kept if each["kind"] == "ordinary"], round(WRONG * samples))
    answers = [each["output"] for each in wrong]
    for each, answer in zip(wrong, [*answers[1:], *answers[:1]], strict=True):
        each.update(output=answer, kind="wrong")
    return Data({"planted": kept}, targets[:TARGETS], others[:BEGUN], [*targets[TARGETS:], *others[BEGUN:]])


def real(data: Path, seed: int) -> Data:
    """The records of the two files. What is drawn from them for another purpose is not in the corpus.

    Targets are Dolly's, each category a subtask. Alpaca's records, which have none, get the category "alpaca".
    """
    drawn = random.Random(seed)
    files = {name: records(data / f"{name}.json") for name in ("alpaca_9k", "dolly_3k")}
    files["alpaca_9k"] = [{**each, "category": "alpaca"} for each in files["alpaca_9k"]]
    whole = {json.dumps(each, sort_keys=True): each for some in files.values() for each in some if each["output"]}
    dolly = [key for key, each in whole.items() if each["category"] != "alpaca"]
    targets = drawn.sample(dolly, TARGETS)
    aside = drawn.sample([key for key in whole if key not in set(targets)], HELD_OUT + BEGUN)
    out = {*targets, *aside}
    corpus_files = {
        name: [each for each in some if json.dumps(each, sort_keys=True) not in out] for name, some in files.items()
    }
    asked = [{**whole[key], "subtask": whole[key]["category"]} for key in targets]
    return Data(corpus_files, asked, [whole[key] for key in aside[:BEGUN]], [whole[key] for key in aside[BEGUN:]])


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
    scorers = {name: {"model": {"name": str(made[name])}} for name in ("complexity", "quality")}
    return {
        "ltd": {"embed": EMBED},
        "deft": {"embed": EMBED, "label": {"name": label}},
        "alpagasus": {"judge": scripted, "threshold": 4},
        "deita": {**scorers, "embed": EMBED},
        "lift": {
            "rewrite": scripted, "respond": scripted, "judge": scripted, "rounds": 1, "max_lost": 1.0, "embed": EMBED,
        },
        "mods": {"reward": reward, "quality": 0.5, "seed_share": 1.0},
        "lobass": {"train": train},
        "less": {"train": train, "target": targets},
        "data_diet": {"train": train, "runs": 2},
        "nlu_diet": {
            "train": {
                "base": {"name": str(made["encoder"])}, "labels": {"label": label, "slots": None, "words": None},
                "epochs": 4, "batch": 32, "learning_rate": 1e-3, "max_tokens": 128, "precision": "float32",
            },
            "full_epochs": 2, "every": 1,
        },
        "instructmining": {
            "reward": reward, "unieval": {"model": {"name": str(made["unieval"])}, "max_tokens": 256},
            "models": "vouched",
        },
        "ifd": {"loss": loss}, "perplexity": {"loss": loss},
        "rds": {"hidden": {"model": base, "max_tokens": 200}, "target": targets},
    }  # fmt: skip


def compared(data: Data, label: str, budget: str, folder: Path, profile: str) -> dict[str, Any]:
    """The content of comparison.json, of a comparison in the folder. The models are made there too."""
    from jobs import compare, finetune
    from jobs.engine.terminal.program import exit_code

    folder.mkdir(parents=True, exist_ok=True)
    inputs = [jsonl(folder / f"{name}.jsonl", rows) for name, rows in data.files.items()]
    aside = {name: jsonl(folder / f"{name}.jsonl", getattr(data, name)) for name in ("targets", "begun", "held_out")}
    texts = [f"{each['instruction']} {each['output']}" for rows in data.files.values() for each in rows]
    made = models(folder / "models", texts)
    store, base = ["--store", str(folder / "store"), "--profile", profile], folder / "models" / "base"
    start = f"base.name={made['start']}"
    _run(exit_code, finetune.main, [aside["begun"], "--out", str(base), *store, start, *_fields(BASE)])
    with serving(folder / "port") as url:
        entries = configuration({**made, "base": base}, url, aside["targets"], label)
        config = folder / "recipes.json"  # JSON is YAML
        config.write_text(
            json.dumps({name: {"fields": {**fields, "max_errors": 0.1}} for name, fields in entries.items()})
        )
        embed = [f"embed.{each}" for each in _fields(EMBED)]
        words = [*inputs, "--out", str(folder / "out"), *store, "--config", str(config), "--budget", budget, *embed]
        words += ["--finetune", str(base), "--heldout", aside["held_out"], "max_errors=0.1"]
        _run(exit_code, compare.main, [*words, *(f"train.{each}" for each in _fields(FINETUNE))])
    return json.loads((folder / "out" / "comparison.json").read_text())


def _fields(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


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
    parser.add_argument("--profile", default="laptop", help="how it is executed, as for every command")
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
    data = planted(given.samples, given.seed)
    found = compared(data, "topic", "10%", folder, given.profile)
    done = [row for row in found["rows"] if "why" not in row]
    kept = kinds_kept(folder, done)
    totals = {kind: sum(row["kind"] == kind for row in data.files["planted"]) for kind in KINDS}
    _printed("planted", found, {name: {"kinds": each} for name, each in kept.items()})
    if given.write:
        table = (folder / "out" / "table.md").read_text(encoding="utf-8")
        command = f"python -m benchmarks.evidence --samples {given.samples} --seed {given.seed}"
        section("planted", command, table, kinds_table(kept, totals), given.write)


def _real(folder: Path, given: argparse.Namespace) -> None:
    found = compared(real(given.data, given.seed), "category", "5%", folder, given.profile)
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
