"""The command train_scorer: a scorer learns from its pairs, and lines that are no pairs are named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs import train_scorer
from jobs.engine.terminal.errors import UsageError
from jobs.methods.scorer_training import (
    COMPLEXITY,
    QUALITY,
    default_template,
    records,
    refuse_other_tokens,
    scorer_training,
)
from operators import sample
from operators.checkpoint import Checkpoint
from operators.scoring.scorer import Scorer
from tests.jobs.corpora import jsonl
from tests.jobs.pool_runs import WORDS
from tests.runs import lines
from tests.tiny import tiny_causal

ray_is_up = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


def rated(salt: str, count: int) -> list[dict]:
    """Instructions about goats, with the score 6, and about bread, with the score 1."""
    made = []
    for at in range(count):
        subject, score = (("goats", 6), ("bread", 1))[at % 2]
        made.append({"instruction": f"{WORDS[2 + at % 4]} {subject} {salt}{at}", "score": score})
    return made


@ray_is_up
@pytest.mark.parametrize("form", ["evolved", "released"])
def test_a_scorer_learns_what_the_pairs_say(run, base, tmp_path, form):
    rows = [*rated("x", 48), {"instruction": "goats " * 300, "score": 6}]
    fields = [f"finetune.base.name={base}", "finetune.max_tokens=250", "finetune.precision=float32",
              "finetune.batch=8", "finetune.epochs=5", "finetune.warmup=0"]  # fmt: skip
    template = COMPLEXITY
    if form == "released":
        template = "Frage: {instruction} \n{{}} Punkte : "
        rows = [
            {"conversations": [{"from": "human", "value": template.format(instruction=row["instruction"])},
                               {"from": "gpt", "value": str(row["score"])}]}
            for row in rows
        ]  # fmt: skip
        settings = {"template": template, "labels": ["1", "2", "6"]}
        (tmp_path / "given.json").write_text(json.dumps(settings))
        fields += ["--settings", "given.json", "finetune.lora.rank=8", "finetune.lora.alpha=16",
                   "finetune.learning_rate=0.01"]  # fmt: skip
    else:
        fields.append("finetune.learning_rate=0.003")
    jsonl(tmp_path / "pairs.jsonl", [*rows, rows[0]])
    code, said = run("pairs.jsonl", "--out", "scorer", "--store", "store", *fields, command=train_scorer)
    assert code == 0, said
    assert "50 read, 1 of them equal" in said
    assert "1 left out (nothing_to_supervise 1)" in said
    assert {line["tokens"] for line in lines(tmp_path / "scorer")} == {8}  # the score's token of each pair
    written = json.loads((tmp_path / "scorer/scorer.json").read_text())
    assert written["template"] == template
    others = [pair["instruction"] for pair in rated("held out ", 12)]
    batch = pa.table({"messages": pa.array([_asked(text) for text in others], sample.MESSAGES)})
    values = Scorer(model=Checkpoint(str(tmp_path / "scorer"))).load()(batch)
    scores = np.array([value["scores"][0] for value in values])
    assert scores[::2].min() > scores[1::2].max()
    assert scores[::2].mean() - scores[1::2].mean() > 1


def _asked(text: str) -> list[dict]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"instruction": "x", "score": 7}, "the score 7 is not one of 1, 2, 3, 4, 5, 6"),
        ({"instruction": "x", "score": "4"}, "the score '4' is not a whole number"),
        ({"instruction": "x", "score": True}, "not a whole number"),
        ({"instruction": None, "score": 4}, "the template has a field instruction"),
        ({"conversations": [{"from": "human", "value": "other"}, {"value": "4"}]}, "not the filled template"),
        ({"conversations": [{"from": "human", "value": "other"}]}, "not a list of two messages"),
        ([1], "not a JSON object"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, row, told):
    good = {"instruction": "{x}", "score": 2}
    path = Path(jsonl(tmp_path / "pairs.jsonl", [good, row]))
    with pytest.raises(UsageError, match=rf"pairs\.jsonl:2\D.*{told}"):
        list(records(path, COMPLEXITY, tuple("123456")))


def test_a_pair_with_half_of_an_emoji_is_named(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"instruction": "cut \ud83d", "score": 3}))
    with pytest.raises(UsageError, match=r"pairs\.jsonl:1: .*surrogates not allowed"):
        list(records(str(path), COMPLEXITY, tuple("123456")))


def test_pairs_say_which_template_is_theirs(tmp_path):
    def template(row) -> str:
        return default_template(Path(jsonl(tmp_path / "pairs.jsonl", [row])))

    assert template({"instruction": "x", "score": 1}) == COMPLEXITY
    assert template({"instruction": "x", "response": "y", "score": 1}) == QUALITY
    with pytest.raises(UsageError, match="--settings"):
        template({"conversations": []})
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(UsageError, match="no pair"):
        default_template(tmp_path / "pairs.jsonl")


def test_a_tokenizer_that_joins_digits_is_refused_with_advice(tmp_path):
    joined = tiny_causal(tmp_path / "joined", digits="joined")
    wanted = scorer_training(None, [f"finetune.base.name={joined}"])
    with pytest.raises(UsageError, match=r"a template without the blank at its end fits, with the labels"):
        refuse_other_tokens(wanted, COMPLEXITY)
    spaced = replace(wanted, labels=tuple(f" {number}" for number in range(1, 7)))
    refuse_other_tokens(spaced, COMPLEXITY.rstrip(" "))
    with pytest.raises(UsageError, match=r"finetune\.template has to be plain"):
        scorer_training(None, ["finetune.template=tulu"])
