"""The data diet of a classification set: what classifiers find hard and forget, refusals, and a whole run."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import yaml
from transformers import AutoTokenizer

from jobs.engine.command.config import Request, build
from jobs.engine.terminal.errors import UsageError
from jobs.methods.data_diets.classified import forgotten
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels.data_diet import over_runs
from operators.kernels.sampling import random_order
from operators.models.tokenized import labelled
from operators.supervision.labels import Labelling
from operators.training.loop import train
from tests.batches import batch
from tests.jobs.corpora import jsonl, ledger
from tests.jobs.recipes.stored import computed, put_outcomes, put_training, put_values
from tests.tiny import tiny_encoder

WORDS = {"bread": "food", "goats": "animal", "北京": "place", "rice": "food", "волк": "animal", "أسوان": "place"}
MARKS = [".", "?", "！", "…", ":", "؟", "，", ";"]
ROWS = [(f"{word} {word} {word}{mark}", name) for mark in MARKS for word, name in WORDS.items()]
ROWS += [("bread bread bread!", "animal"), ("goats goats goats!", "place")]
ROWS += [("北京 北京 北京!", "food"), ("волк волк волк!", "place")]
RIGHT = len(ROWS) - 4
CLASSIFIER = ["train.labels.label=category", "train.lora=none"]
NAMED = [*CLASSIFIER, "train.labels.classes=[animal, food, place]"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("base"), [text for text, _ in ROWS])


def training(base, epochs):
    fields = [f"train.base.name={base}", f"train.epochs={epochs}", "train.batch=8", "train.learning_rate=1e-3"]
    return [*fields, "train.max_tokens=32", "train.precision=float32"]


def table(rows):
    records = [json.dumps({"category": name}, ensure_ascii=False).encode() for _, name in rows]
    made = batch([(text, "") for text, _ in rows])
    return made.set_column(made.schema.get_field_index("raw"), "raw", pa.array(records, pa.large_binary()))


def test_wrong_labels_are_hard_for_classifiers_and_are_forgotten(base, tmp_path):
    fields = [*NAMED, *training(base, 8)]
    trainer = build("data_diet", Request(), fields).train
    given = table(ROWS)
    rows = labelled(Labelling(AutoTokenizer.from_pretrained(base), trainer.labels, trainer.max_tokens), given)
    runs = [train(replace(trainer, seed=seed), rows, tmp_path / str(seed)) for seed in (0, 424_242)]

    def means(score, field):
        trained = f"trained=[{', '.join(str(epochs[-1]) for epochs in runs)}]"
        operators = build("data_diet", Request(), [*fields, f"score={score}", trained]).steps()
        assert operators.pop("label") == Field("category")
        loaded = [operator.load() for operator in operators.values()]
        return over_runs(*([value[field] for value in compute(given)] for compute in loaded)).mean

    for scores in (means("el2n", "el2n"), means("grand", "norm"), means("grand_last", "norm")):
        assert scores[RIGHT:].min() > 2 * scores[:RIGHT].mean()
    found = forgotten([[Checkpoint(str(epoch)) for epoch in epochs] for epochs in runs], np.arange(len(ROWS)))
    found = np.mean(found, axis=0)
    assert found[RIGHT:].mean() > 4 * found[:RIGHT].mean()


PUBLISHED = [[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0]]


@pytest.fixture
def moods(make_pool):
    """Six samples, every other one of a class."""
    return make_pool([f"{kind} {at}" for at in range(3) for kind in ("joy", "怒")])


def forgetting(base, *overrides):
    fields = [f"train.base.name={base}", "train.labels.label=task", "train.lora=none", "train.epochs=4"]
    return build("data_diet", Request(), [*fields, "score=forgetting", "keep=top", "runs=2", "budget=2", *overrides])


def test_forgettings_are_counted_by_sample_and_never_right_is_every_visit(moods, base):
    folders, nothing = put_training(moods, forgetting(base).train, [1, 2, 4, 5]), np.nan
    put_outcomes(folders, [1, 2, 4, 5], PUBLISHED)
    epochs = [Checkpoint(str(epoch)) for epoch in folders]
    found = forgotten([epochs, epochs[2:]], np.arange(6))
    np.testing.assert_equal(found, [[nothing, 1, 2, nothing, 0, 4], [nothing, 0, 1, nothing, 0, 2]])
    np.testing.assert_equal(forgotten([epochs], np.array([0, 2, 5])), [[nothing, 2, 4]])


@pytest.mark.usefixtures("ray_session")
def test_forgettings_are_averaged_over_runs_and_only_of_what_the_runs_saw(moods, base):
    recipe = forgetting(base, "share=0.6")
    put_values(moods, recipe.steps()["label"], ["joy", "怒"] * 3)
    seen = sorted(random_order(6, 0)[:4].tolist())
    named = replace(recipe.train, labels=replace(recipe.train.labels, classes=("joy", "怒")))
    another = [[1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 1, 0], [1, 0, 1, 0]]
    for seed, rights in ((0, PUBLISHED), (424_242, another)):
        put_outcomes(put_training(moods, replace(named, seed=seed), seen), seen, rights)
    chosen = recipe.select(moods)
    assert not computed(moods)
    assert chosen.score[seen].tolist() == [1, 1.5, 0, 2.5]
    assert np.isnan(chosen.score).sum() == 2
    assert chosen.ids.tolist() == [seen[3], seen[1]]
    assert chosen.facts["samples never predicted correctly"] == 0
    assert chosen.facts["not scored"] == 2
    assert sum(chosen.facts["kept per label"].values()) == 2


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["train.labels.label=category"], "all weights of a classifier are trained: set train.lora=none"),
        ([*CLASSIFIER, "score=grand_lora"], "score=grand_lora needs an adapter"),
        ([*CLASSIFIER, "aggregate=sum"], "a class has one error: set aggregate=mean"),
        ([*CLASSIFIER, "train.labels.slots=slots"], "set train.labels.slots=none, or use nlu_diet"),
        (["score=forgetting", "train.epochs=2"], "score=forgetting needs a classifier"),
        ([*CLASSIFIER, "score=forgetting"], "set train.epochs to 2 or more"),
        ([*CLASSIFIER, "score=forgetting", "train.epochs=2", "trained=[made/one]"], "leave trained empty"),
    ],
)
def test_what_no_classifier_has_is_refused_without_data(overrides, told):
    recipe = build("data_diet", Request(), overrides)
    assert set(recipe.steps()) <= {"base", "label", "train", "run_1", "run_2", "run_3"}
    with pytest.raises(UsageError, match=told):
        recipe.check()


def test_end_to_end_wrong_labels_are_the_hardest_and_what_was_forgotten_is_known_without_training_again(
    run, tmp_path, base, ray_session
):
    rows = [{"instruction": text, "output": "", "category": name} for text, name in ROWS]
    jsonl(tmp_path / "in.jsonl", [*rows, *({"instruction": f"bread {at}", "output": ""} for at in range(4))])
    (tmp_path / "p.yaml").write_text("default: {rows: 64, workers: 1}")
    words = ["data_diet", "in.jsonl", "--profile", "p.yaml", *CLASSIFIER, *training(base, 8), "keep=top"]
    words += ["runs=1", "budget=6"]
    code, said = run(*words, "--plan", store="own")
    assert code == 0, said
    assert "would be trained for 8 epochs" in said

    code, said = run(*words, "--out", "a", store="own")
    assert code == 0, said
    diet = ledger(tmp_path / "a")
    hardest = sorted(diet[: len(ROWS)], key=lambda row: -row["score"])
    assert {row["id"] for row in hardest[:4]} == set(range(RIGHT, len(ROWS)))
    assert [row["rank"] for row in hardest[:6]] == list(range(1, 7))
    assert {(row["score"], row["reason"]) for row in diet[len(ROWS) :]} == {(None, "not scored")}
    facts = manifest(tmp_path / "a")["found"]
    assert facts["not scored"] == 4
    assert set(facts["kept per label"]) == {"", "animal", "food", "place"}
    assert "rank correlation with the loss" in facts
    assert "rank correlation between runs" not in facts  # of a single run
    assert all(row["loss"] > 0 and row["text_tokens"] > 0 for row in diet[: len(ROWS)])

    code, said = run(*words, "score=forgetting", "--out", "b", store="own")
    assert code == 0, said
    assert not sum(verb.get("computed", 0) for verb in manifest(tmp_path / "b")["verbs"])
    forgot = ledger(tmp_path / "b")
    assert {row["score"] for row in forgot[len(ROWS) :]} == {None}
    scores = np.array([row["score"] for row in forgot[: len(ROWS)]])
    assert scores[RIGHT:].mean() > 4 * scores[:RIGHT].mean()
    assert manifest(tmp_path / "b")["found"]["samples never predicted correctly"] == int((scores == 8).sum())


def manifest(folder):
    return yaml.safe_load((folder / "manifest.yaml").read_text())
