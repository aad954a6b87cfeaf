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
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._evidence_data import KINDS, Data, planted, real
from benchmarks._evidence_page import Spent, kinds_kept, kinds_table, section, told
from benchmarks._made import say_beside
from benchmarks._run import options, printed
from benchmarks._scripted_judge import serving
from benchmarks._small_models import SIZE, models

TRAIN = {"epochs": 1, "learning_rate": 1e-3, "precision": "float32", "max_tokens": 200}
BASE = {**TRAIN, "epochs": 6, "learning_rate": 3e-3, "batch": 8, "lora": "none"}
FINETUNE = {**TRAIN, "learning_rate": 2e-3, "max_tokens": 128, "lora": "none"}
LORA = {"rank": 4, "alpha": 16.0, "dropout": 0.0}
EMBED = {"text": "{conversation}", "max_tokens": 128}
RUNS, SHARE = 1, 0.25
DIET = {"epochs": 2, "batch": 32, "learning_rate": 1e-3, "max_tokens": 128, "precision": "float32"}
SETTINGS = {
    "Base": f"{SIZE}, all weights trained for {BASE['epochs']} epochs in batches of {BASE['batch']} with a learning "
    f"rate of {BASE['learning_rate']:g}",
    "Fine-tunes on each selection": f"all weights, {FINETUNE['epochs']} epoch of 16 steps, learning rate "
    f"{FINETUNE['learning_rate']:g}, samples cut at {FINETUNE['max_tokens']} tokens, seeds 0, 1 and 2",
    "lobass, less, data_diet": f"adapters of rank {LORA['rank']}, {TRAIN['epochs']} epoch with a learning rate of "
    f"{TRAIN['learning_rate']:g}; lobass and data_diet train on {SHARE:.0%} of the corpus, data_diet in {RUNS} run; "
    "less on 5%, without a projection",
    "nlu_diet": f"{DIET['epochs']} epochs, of which 1 on all samples, cut at {DIET['max_tokens']} tokens",
    "Embeddings": f"all-MiniLM-L6-v2, texts cut at {EMBED['max_tokens']} tokens",
}
"""What the page says beside the tables."""


def jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """The path, with a line for each row. A file that has them keeps its time stamp: inputs are known again by it."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
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
        "lobass": {"train": train, "share": SHARE},
        "less": {"train": train, "target": targets},
        "data_diet": {"train": train, "runs": RUNS, "share": SHARE},
        "nlu_diet": {
            "train": {
                "base": {"name": str(made["encoder"])}, "labels": {"label": label, "slots": None, "words": None},
                **DIET,
            },
            "full_epochs": 1, "every": 1,
        },
        "instructmining": {
            "reward": reward, "unieval": {"model": {"name": str(made["unieval"])}, "max_tokens": 128},
            "models": "vouched",
        },
        "ifd": {"loss": loss}, "perplexity": {"loss": loss},
        "rds": {"hidden": {"model": base, "max_tokens": 200}, "target": targets},
    }  # fmt: skip


def compared(data: Data, label: str, budget: str, folder: Path, profile: str) -> tuple[dict[str, Any], Spent]:
    """The content of comparison.json, of a comparison in the folder, and what the same compare takes again.

    The models are made there too.
    """
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
        words += [f"train.{each}" for each in _fields(FINETUNE)]
        _run(exit_code, compare.main, words)
        again = _timed([sys.executable, "-m", "jobs.compare", *words])
    return json.loads((folder / "out" / "comparison.json").read_text()), again


def _timed(command: Sequence[str]) -> Spent:
    """What a process takes; it may exit with 1, as compare does where a recipe failed."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if code not in (0, 1):
        raise SystemExit(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.monotonic() - began, processor)


def _fields(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _run(exit_code: Callable[..., int], command: Callable[..., int], words: Sequence[str]) -> None:
    code = exit_code(lambda: command(words))
    if code not in (0, 1):
        raise SystemExit(code)


def main() -> None:
    parser = options(__doc__, seed=7)
    parser.add_argument("--samples", type=int, default=1200, help="samples of the planted corpus; 0: none is made")
    parser.add_argument("--data", type=Path, help="the folder with alpaca_9k.json and dolly_3k.json")
    parser.add_argument("--folder", type=Path, help="a folder to work in; a temporary one if not given")
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
    found, again = compared(data, "topic", "10%", folder, given.profile)
    rows, done = data.files["planted"], [row["name"] for row in found["rows"] if "why" not in row]
    kept = kinds_kept(folder / "out", done, rows)
    totals = {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS}
    _printed("planted", found, {name: {"kinds": each} for name, each in kept.items()})
    said = told(data, found, SETTINGS, again) + kinds_table(kept, totals)
    _written("planted", f"--samples {given.samples}", said, folder, given)


def _real(folder: Path, given: argparse.Namespace) -> None:
    data = real(given.data, given.seed)
    found, again = compared(data, "category", "5%", folder, given.profile)
    _printed("real", found, {})
    _written("real", "--samples 0 --data FOLDER", told(data, found, SETTINGS, again), folder, given)


def _written(name: str, words: str, said: str, folder: Path, given: argparse.Namespace) -> None:
    """Writes a section of the page, if one was named."""
    if given.write:
        table = (folder / "out" / "table.md").read_text(encoding="utf-8")
        section(name, f"python -m benchmarks.evidence {words} --seed {given.seed}", table, said, given.write)


def _printed(corpus_name: str, found: Mapping[str, Any], more: Mapping[str, Mapping[str, Any]]) -> None:
    drawn = [row["loss"] for row in found["rows"] if row["name"].startswith("random-") and "loss" in row]
    for row in found["rows"]:
        ratio = {"ratio": row["loss"] / (sum(drawn) / len(drawn))} if "loss" in row and drawn else {}
        line = {"benchmark": "evidence", "corpus": corpus_name, **row, **ratio, **more.get(row["name"], {})}
        printed(line)


if __name__ == "__main__":
    main()
