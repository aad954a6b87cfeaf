"""winnow compare from start to end, on a corpus of two files."""

import json
import re

import numpy as np
import pytest

from jobs import compare
from jobs.engine.pool.pool import Pool
from jobs.methods.comparison.contenders import settings
from jobs.methods.comparison.losses import fine_tuned
from jobs.methods.comparison.results import Result
from jobs.methods.held_out import HeldOut
from tests.jobs.corpora import jsonl, records
from tests.servers import prompt, served
from tests.tiny import tiny_causal

pytestmark = pytest.mark.usefixtures("ray_session")
PRECISE = ("embed.precision=float32", "ltd.embed.precision=float32")
TRAIN = ("train.epochs=1", "train.learning_rate=5e-3", "train.precision=float32", "train.max_tokens=160", "seeds=2")


@pytest.fixture
def model(tmp_path):
    return tiny_causal(tmp_path / "model", [row["output"] for row in records(40)])


def table(tmp_path, out="o"):
    return json.loads((tmp_path / out / "comparison.json").read_text())


def test_recipes_are_compared_and_a_second_run_computes_nothing(run, tmp_path, model, shared_store):
    files = [jsonl(tmp_path / "a.jsonl", records(30)), jsonl(tmp_path / "b.jsonl", records(10, "b"))]
    held_out = jsonl(tmp_path / "h.jsonl", records(6, "h"))
    recipes = {
        "top": {"recipe": "perplexity", "fields": {"keep": "top", "loss": {"model": {"name": str(model)}}}},
        "failing": {"recipe": "ltd", "fields": {"target": "nobody", "label": {"name": "category"}}},
        "lacking": {"recipe": "ifd", "fields": {"loss": {"model": {"name": "/no/model"}}}},
    }
    (tmp_path / "recipes.yaml").write_text(json.dumps(recipes))
    words = [*files, "--out", "o", "--store", shared_store, "--budget", "20%", "--config", "recipes.yaml", *PRECISE]
    words += ["--finetune", model, "steps=4", "topics=5", *TRAIN, "--heldout"]
    (tmp_path / "empty.jsonl").write_text("")
    nothing = [*words, "empty.jsonl", "--out", "q"]
    words.append(held_out)
    code, said = run("ltd", *nothing, "--skip-missing", command=compare)
    assert (code, "empty.jsonl" in said, "random-0" in said) == (2, True, False), said

    code, said = run("ltd", *words, command=compare)
    assert code == 1
    assert "lacking: loss.model.name: model /no/model: there is no folder" in said
    assert "pool:" not in said

    code, said = run("ltd", *words, "--skip-missing", command=compare)
    assert code == 1, said
    found = table(tmp_path)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["random-0", "random-1", "balanced", "longest", "ltd", "top", "failing", "lacking"]
    assert "nobody" in rows["failing"]["why"]
    assert "/no/model" in rows["lacking"]["why"]
    done = {name: row for name, row in rows.items() if "why" not in row}
    assert {row["kept"] for row in done.values()} == {8}
    assert rows["ltd"]["radius"] < rows["top"]["radius"]
    assert rows["longest"]["length"] == max(row["length"] for row in done.values()) > 1
    assert rows["balanced"]["source_shift"] == pytest.approx(0.25)
    assert all(0 < row["topics"] <= 1 and row["sources"] in (0.5, 1.0) for row in done.values())
    assert rows["random-0"]["passes"] == 0 < rows["top"]["passes"]
    assert rows["top"]["against_random"] in ("better", "worse", "no difference shown")
    assert all(len(row["loss_of_seeds"]) == 2 and row["loss_low"] <= row["loss"] for row in done.values())
    assert found["overlaps"]["ltd"]["ltd"] == 1
    assert found["overlaps"]["ltd"]["top"] == found["overlaps"]["top"]["ltd"] < 1
    (before,) = found["notes"]
    assert float(before.removeprefix("before any fine-tune: held-out loss ")) > rows["random-0"]["loss"]
    text = (tmp_path / "o" / "table.md").read_text()
    assert "- lacking: not compared: loss.model.name: model /no/model: there is no folder" in text
    page = (tmp_path / "o" / "report.html").read_text()
    assert all(f">{name}</td>" in page for name in done)
    assert 'id="chart-overlaps"' in page
    assert 'id="chart-losses"' in page

    ledgers = {name: (tmp_path / "o" / name / "selection.parquet").stat().st_mtime_ns for name in done}
    recipes["bottom"] = {"recipe": "perplexity", "fields": {**recipes["top"]["fields"], "keep": "bottom"}}
    (tmp_path / "recipes.yaml").write_text(json.dumps(recipes))
    code, said = run("ltd", *words, "--skip-missing", command=compare)
    assert code == 1, said
    again = {row["name"]: row for row in table(tmp_path)["rows"]}
    assert {name: again[name] for name in done} == done
    assert again["bottom"]["kept"] == 8
    assert ledgers == {name: (tmp_path / "o" / name / "selection.parquet").stat().st_mtime_ns for name in done}
    assert {int(count) for count in re.findall(r"(\d+) to compute", said)} == {0}


def test_a_selection_that_no_model_can_learn_from_does_not_cost_the_losses_of_the_others(tmp_path, session, model):
    long = [{"instruction": "Why? " * 500, "output": f"Because {number}."} for number in range(4)]
    pool = Pool.of([jsonl(tmp_path / "a.jsonl", [*long, *records(4)])], session)
    held_out = HeldOut.read(pool, jsonl(tmp_path / "h.jsonl", records(2, "h")))
    wanted = settings([*TRAIN[:-1], "seeds=1", "steps=2"], str(model))
    results = {
        name: Result(np.arange(first, first + 4), pool.folder, {}) for name, first in (("long", 0), ("random-0", 4))
    }
    found, without = fine_tuned(pool, results, wanted, held_out)
    assert list(found.rows()) == ["random-0"]
    assert (list(found.failed), without) == (["long"], {})
    assert "none of 4 samples can be trained on" in found.failed["long"]


def test_what_no_comparison_can_be_made_of_is_refused_before_anything_starts(run, tmp_path, model):
    file = jsonl(tmp_path / "a.jsonl", records(10))
    for words, told in (
        ((file,), "name recipes and what to select from"),
        (("ltd",), "name recipes and what to select from"),
        (("ltd", file, "--budget", "nothing"), "--budget 'nothing' is none of"),
        (("ltd", file, "--finetune", model), "--finetune MODEL and --heldout FILE go together"),
        (("rds", "less", file), "less: LESS selects for a target"),
        (("ltd", file, "ltd.centroid=3"), "unknown field 'centroid'; did you mean 'centroids'"),
        (("ltd", file, "rds.target=x"), "rds.target=x: rds is not among the recipes"),
        (("ltd", file, "budget=7"), "write --budget 7"),
        (("ltd", file, "topic=3"), "unknown field 'topic'; did you mean 'topics'"),
    ):
        code, said = run(*words, "--out", "o", command=compare)
        assert (code, told in said) == (2, True), said
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other.txt").touch()
    code, said = run("ltd", file, "--out", "full", command=compare)
    assert code == 2
    assert "full is not empty and holds no comparison" in said


def test_one_sample_two_and_a_budget_that_no_pool_can_fill(run, tmp_path, shared_store):
    one, two = (jsonl(tmp_path / f"{number}.jsonl", records(number)) for number in (1, 2))
    with served(lambda request: "5" if "bread" in prompt(request) else "1") as server:
        words = ["--store", shared_store, *PRECISE[:1], "lift.rounds=0", "seeds=1"]
        asked = {"judge.model.name": "m", "judge.endpoint": server.url}
        words += [f"{name}.{field}={value}" for name in ("lift", "alpagasus") for field, value in asked.items()]
        both = ("ltd", "deft", "deft.embed.precision=float32", "lift", "alpagasus")
        code, said = run(*both, one, "--out", "o", *words, command=compare)
        rows = {row["name"]: row for row in table(tmp_path)["rows"]}
        assert code == 1, said
        assert "1 rows, all the same" in rows.pop("lift")["why"]
        assert [row["kept"] for row in rows.values()] == [1] * 6
        row = rows["random-0"]
        assert (row["radius"], row["topics"], row["near_duplicates"]) == (0.0, 1.0, 0)
        code, said = run("lift", "alpagasus", two, "--out", "o2", "--budget", "2", *words, command=compare)
        assert "lift failed: none of 2 row variances is above percentile 80" in said
        assert code == 1
        rows = {row["name"]: row["kept"] for row in table(tmp_path, "o2")["rows"] if "why" not in row}
        assert rows == {"random-0": 2, "balanced": 2, "longest": 2, "alpagasus": 1}  # which rates only one high enough
    code, said = run("ltd", one, "--out", "q", "--store", shared_store, "--budget", "3", command=compare)
    assert code == 1
    assert "every recipe failed: random-0: budget 3 is above the 1 samples of the pool" in said
