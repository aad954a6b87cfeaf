"""The diet that changes in training: as a user runs it, against full training, and its choices on their own."""

import json

import numpy as np
import pytest
import yaml

from jobs import evaluate
from jobs.engine.command.config import Request, build
from jobs.engine.terminal.errors import UsageError
from jobs.methods.data_diets.cycles import Cycles
from tests.jobs.corpora import jsonl, ledger, utterances
from tests.tiny import tiny_encoder

FIELDS = {
    "train.epochs": 8,
    "train.batch": 16,
    "train.learning_rate": 1e-3,
    "train.max_tokens": 48,
    "train.precision": "float32",
}


@pytest.mark.usefixtures("ray_session")
def test_half_of_the_data_a_cycle_is_as_accurate_in_fewer_steps(run, tmp_path, shared_store):
    rows = [*utterances(600, seed=0), {"instruction": "no intent here", "output": "", "words": [], "slots": []}]
    file, held_out = jsonl(tmp_path / "in.jsonl", rows), jsonl(tmp_path / "held.jsonl", utterances(300, seed=1))
    bare = jsonl(tmp_path / "bare.jsonl", [{**row, "words": [], "slots": []} for row in utterances(3, seed=2)])
    base = tiny_encoder(tmp_path / "base", [row["instruction"] for row in rows])
    words = ["nlu_diet", file, f"train.base.name={base}", *(f"{name}={value}" for name, value in FIELDS.items())]
    found = {}
    for out, fields in {"diet": ["full_epochs=4", "every=2"], "full": ["full_epochs=8"]}.items():
        code, said = run(*words, "--out", out, *fields)
        assert code == 0, said
        found[out] = yaml.safe_load((tmp_path / out / "manifest.yaml").read_text())["found"]
        shown = [found[out]["model"], held_out, bare, "--out", f"{out}.json", "--store", shared_store]
        code, said = run(*shown, command=evaluate)
        assert code == 0, said
        told = json.loads((tmp_path / f"{out}.json").read_text())
        found[out] |= {name: told["overall"][name]["estimate"] for name in ("accuracy", "slot accuracy")}
        assert told["sources"][str(bare)]["samples"] == 3
        assert told["sources"][str(bare)]["slot accuracy"] is None
    diet, full = found["diet"], found["full"]
    print(f"accuracy {diet['accuracy']:.3f} of {full['accuracy']:.3f}, steps {diet['steps']} of {full['steps']}")  # noqa: T201 - for people
    samples = full["training samples per cycle"][0]
    # the pool has one more sample, without an intent
    assert diet["training samples per cycle"] == [
        samples,
        *[(samples + 2) // 2] * 2,
    ]
    assert full["accuracy"] > 0.98
    assert diet["accuracy"] >= full["accuracy"] - 0.01
    assert diet["slot accuracy"] >= full["slot accuracy"] - 0.01
    assert diet["steps"] < 0.8 * full["steps"]
    assert full["steps"] == diet["steps without a diet"]
    lines = ledger(tmp_path / "diet")
    assert [row["state"] for row in lines].count("kept") == (samples + 2) // 2
    (unlabelled,) = (row for row in lines if row["reason"] == "not scored")
    assert (unlabelled["state"], unlabelled["line"]) == ("dropped", 601)
    trained = {row["epochs_trained_on"] for row in lines if row["state"] in ("kept", "dropped")} - {None}
    assert {4, 6, 8} >= trained > {4}


def test_fields_that_cannot_go_together_are_refused_without_data():
    for fields, message in {
        ("train.labels=none",): "set train.labels to its fields",
        ("full_epochs=41",): "full_epochs=41 is more than train.epochs=40",
        ("budget=tokens:10",): "budget in samples or percent",
    }.items():
        with pytest.raises(UsageError, match=message):
            build("nlu_diet", Request(), fields).check()


@pytest.fixture
def chosen(make_pool):
    """Chooses from four samples, after so many cycles: chosen(scores, cycles, "budget=2", ...) -> ids, best first."""
    pool = make_pool([f"utterance {i}" for i in range(4)])

    def ids(scores, cycles, *fields):
        recipe = build("nlu_diet", Request(), fields)
        run = Cycles(recipe.train, pool, recipe.seed, pool, chosen=(pool,) * cycles, epochs=(4,) * cycles)
        scored = pool.bind(score=np.array(scores)).having("score")
        return recipe._chosen(run, scored, recipe.budget_size(pool)).order.tolist()

    return ids


NONE = float("nan")


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("scores", "fields", "expected"),
    [
        ([0.2, 0.9, NONE, 0.2], ["budget=2"], [1, 0]),
        ([0.2, 0.9, NONE, 0.2], ["budget=2", "offset=0.3"], [0, 3]),
        ([0.2, 0.9, NONE, 0.2], ["budget=2", "cut=quantile"], [1, 0, 3]),
        # The quantile 0.6 of three scores is 2.2: 40 % of four samples, rounded up, are two, and one is above it.
        ([1.0, 2.0, 3.0, NONE], ["budget=40%", "cut=quantile"], [2]),
        ([1.0, 2.0, 3.0, NONE], ["budget=2", "cut=quantile"], [2, 1]),
        # What is left below an offset of 0.3 is less than 90 %.
        ([1.0, 2.0, 3.0, NONE], ["budget=90%", "cut=quantile", "offset=0.3"], [1, 0]),
    ],
)
def test_a_cycle_is_chosen_by_rank_or_by_quantiles_among_those_with_a_score(chosen, scores, fields, expected):
    assert chosen(scores, 1, *fields) == expected


def test_a_random_cycle_and_a_first_one_without_scores_are_drawn_from_all_by_seed_and_cycle(chosen):
    scores = [0.2, 0.9, NONE, 0.2]
    drawn = [chosen(scores, cycle, "budget=1", "choose=random", "seed=4") for cycle in range(12)]
    assert {tuple(each) for each in drawn} == {(0,), (1,), (2,), (3,)}
    assert drawn[1:] == [chosen(scores, cycle, "budget=1", "choose=random", "seed=5") for cycle in range(11)]
    assert drawn[0] == chosen(scores, 0, "budget=1", "seed=4")
