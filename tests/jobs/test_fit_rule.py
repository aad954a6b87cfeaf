"""The command fit_rule on a tiny model: the signs of a planted rule come back, nothing is trained twice, it is used."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from jobs import fit_rule
from tests.jobs.corpora import jsonl, ledger
from tests.tiny import tiny_causal

pytestmark = pytest.mark.usefixtures("ray_session")
WORDS = [
    "bread",
    "goats",
    "tides",
    "chess",
    "rivers",
    "verbs",
    "maps",
    "lenses",
    "stone",
    "cloud",
    "lamp",
    "field",
    "river",
    "moon",
    "glass",
    "paper",
]


def rows(kind: str, count: int, salt: str) -> list[dict]:
    """Samples of which two kinds are like those that are held out: one is asked at length, and one says much."""
    drawn, made = random.Random(f"{kind}{salt}"), []
    for at in range(count):
        asked, answered = {
            "long": (f"Please say, slowly and with great care, what number {at} of all these many things is.",
                     " ".join(["bread and goats"] * drawn.randint(3, 5))),
            "diverse": (f"Words {at}?", " ".join(drawn.sample(WORDS, 10))),
            "junk": (f"Count {at}.", "ha ho " * 8),
        }[kind]  # fmt: skip
        made.append({"instruction": asked, "output": answered, "kind": kind})
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The base, the candidates and the held-out samples, in a folder."""
    folder = tmp_path_factory.mktemp("rule")
    made = {kind: rows(kind, 60, "c") for kind in ("long", "diverse", "junk")}
    texts = [f"{row['instruction']} {row['output']}" for each in made.values() for row in each]
    tiny_causal(folder / "base", texts)
    jsonl(folder / "in.jsonl", [row for each in made.values() for row in each])
    jsonl(folder / "held.jsonl", rows("long", 6, "h") + rows("diverse", 6, "h"))
    return folder


def words(files, out, *more):
    train = {
        "base.name": files / "base",
        "lora.rank": 4,
        "lora.alpha": 16,
        "lora.dropout": 0.0,
        "epochs": 1,
        "batch": 4,
    }
    train |= {"learning_rate": 1e-2, "warmup": 0, "max_tokens": 160, "precision": "float32", "template": "tulu"}
    return [
        files / "in.jsonl", "--heldout", files / "held.jsonl", "--out", out, "--store", "store", "samples=24",
        "source=kind", "indicators=len_in,mtld", f"length_in.model.name={files / 'base'}",
        *(f"train.{name}={value}" for name, value in train.items()), *more,
    ]  # fmt: skip


def test_the_signs_of_a_planted_rule_come_back_from_24_sets_and_nothing_is_trained_twice(run, files, tmp_path):
    code, said = run(*words(files, "some", "subsets=5"), command=fit_rule)
    assert code == 0, said
    shutil.rmtree("some")
    kept = sorted(Path("store/trained").iterdir())
    assert len(kept) == 5
    when = [each.stat().st_mtime_ns for each in kept]

    code, said = run(*words(files, "rule", "subsets=24"), command=fit_rule)
    assert code == 0, said
    assert [each.stat().st_mtime_ns for each in kept] == when
    manifest = yaml.safe_load(Path("rule/manifest.yaml").read_text())
    trained = [entry for entry in manifest["verbs"] if "train" in entry]
    assert [entry["computed"] > 0 for entry in trained] == [False] * 5 + [True] * 19

    rule = json.loads(Path("rule/rule.json").read_text())
    assert {name: value < 0 for name, value in rule["coefficients"].items()} == {"len_in": True, "mtld": True}
    assert max(rule["p_values"].values()) < 0.01
    assert rule["cross_validated_r2"] > 0.5
    runs = pq.read_table("rule/fit_runs.parquet").to_pylist()
    assert [each["number"] for each in runs] == list(range(24))
    assert all(sum(share["share"] for share in each["shares"]) == pytest.approx(1) for each in runs)
    predicted = [
        rule["constant"] + sum(weight * each["means"][name] for name, weight in rule["coefficients"].items())
        for each in runs
    ]
    assert np.corrcoef(predicted, np.log([each["loss"] for each in runs]))[0, 1] ** 2 == pytest.approx(rule["r2"])
    page = Path("rule/report.html").read_text()
    for shown in (
        'id="chart-effects"',
        'id="chart-agreement"',
        "cross-validated R²",
        "24 fine-tunes of",
        "default-src",
    ):
        assert shown in page

    code, said = run(*words(files, "rule", "subsets=24"), command=fit_rule)
    assert code == 0, said
    again = yaml.safe_load(Path("rule/manifest.yaml").read_text())["verbs"]
    assert [entry["computed"] for entry in again if "train" in entry] == [0] * 24

    chosen = ["rule=rule/rule.json", f"length_in.model.name={files / 'base'}", "budget=40"]
    code, said = run("instructmining", files / "in.jsonl", "--out", "out", *chosen, store="store")
    assert code == 0, said
    best = [row["line"] for row in ledger(Path("out")) if row["state"] == "kept"]
    assert "junk" not in {["long", "diverse", "junk"][(line - 1) // 60] for line in best}


def test_bad_sets_sources_and_files_are_refused_in_one_line(run, files, tmp_path):
    jsonl(tmp_path / "empty.jsonl", [])
    for more, told in (
        (["samples=181"], "samples=181, and only 180 have every indicator: set samples lower"),
        (["subsets=2"], "subsets: Input should be greater than or equal to 3"),
        (["indicators=luck"], "there is no indicator 'luck'"),
    ):
        code, said = run(*words(files, "x", "subsets=3", *more), command=fit_rule)
        assert code == 2
        assert told in said
        assert said.count("error: ") == 1
