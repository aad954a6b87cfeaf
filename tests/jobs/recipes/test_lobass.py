"""LoBaSS: orders of losses worked out by hand, what gives exactly 0, and the whole recipe and a data diet after it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from jobs.engine.command.config import Request, build
from jobs.engine.terminal.errors import WinnowError
from operators.base import RowError
from operators.kernels.loss_based import learnability
from operators.kernels.sampling import random_order
from operators.losses.loss import FIELDS
from tests.batches import batch
from tests.jobs.corpora import jsonl, ledger
from tests.jobs.recipes.stored import computed, put_training, put_values
from tests.tiny import tiny_causal

ray_is_up = pytest.mark.usefixtures("ray_session")

BASE = [2, 1, 4, 0.05, 1.5, 0.2]
REFERENCE = [1, 0.4, 3, 0.04, 1.8, 0.02]
TOKENS = [10, 100, 20, 5, 1, 2]


def taken(means, tokens):
    """What Loss gives for responses with these losses a token."""
    return [
        {"tokens": count, **dict.fromkeys(FIELDS, 0.5), "nll_mean": mean, "nll_sum": mean * count}
        | {"truncated": count == 100}
        for mean, count in zip(means, tokens, strict=True)
    ]


def prefilled(pool, recipe, base=BASE, reference=REFERENCE, tokens=TOKENS, reference_tokens=None, without=()):
    """Puts these losses into the store, as if they had been computed; `without`: ids that have none under the base."""
    steps, before = recipe.steps(), taken(base, tokens)
    nothing = RowError("nothing_to_supervise", "the response was cut away")
    put_values(pool, steps["base"], [nothing if at in without else value for at, value in enumerate(before)])
    put_values(pool, steps["reference"], taken(reference, reference_tokens or tokens))


def selected(pool, *overrides, **losses):
    """The selection with these losses, under a reference that is given."""
    recipe = build("lobass", Request(), ["reference.name=made/reference", *overrides])
    prefilled(pool, recipe, **losses)
    return recipe.select(pool)


@pytest.fixture
def six(make_pool):
    return make_pool(f"{'long ' * tokens}sample {i}" for i, tokens in enumerate(TOKENS))


@ray_is_up
@pytest.mark.parametrize(
    ("overrides", "order", "scores"),
    [
        ([], "FBACDE", [0.5, 0.6, 0.25, 0.2, -0.2, 0.9]),
        (["version=v1_normalised"], "FBACDE", [0.5, 0.6, 0.25, 0.2, -0.2, 0.9]),
        (["version=v1_normalised", "reduction=sum"], "FBACDE", [0.5, 0.6, 0.25, 0.2, -0.2, 0.9]),
        (["version=v1_unnormalised"], "ACBFDE", [1, 0.6, 1, 0.01, -0.3, 0.18]),
        (["version=v1_unnormalised", "reduction=sum"], "BCAFDE", [10, 60, 20, 0.05, -0.3, 0.36]),
    ],
)
def test_each_version_has_its_order(six, overrides, order, scores):
    chosen = selected(six, "budget=6", *overrides)
    assert "".join("ABCDEF"[at] for at in chosen.ids) == order
    assert chosen.score[:].tolist() == pytest.approx(scores, rel=1e-6)
    assert selected(six, "budget=2", *overrides).ids.tolist() == chosen.ids[:2].tolist()


@ray_is_up
def test_facts_say_what_a_rank_does_not(six):
    chosen = selected(six, "budget=2")
    assert [chosen.reasons[at] for at in chosen.reason] == [
        "less learnable than the kept ones", "among the most learnable", *["less learnable than the kept ones"] * 3,
        "among the most learnable",
    ]  # fmt: skip
    assert chosen.details["base_loss"].tolist() == pytest.approx(BASE)
    assert chosen.details["reference_loss"].tolist() == pytest.approx(REFERENCE)
    assert chosen.details["response_tokens"].tolist() == TOKENS
    correlation = chosen.facts.pop("rank correlation with response length")
    assert correlation == pytest.approx(1 - 6 * (1 + 0 + 4 + 1 + 0 + 16) / (6 * 35))
    assert chosen.facts == {
        "not scored": 0,
        "truncated": 1,
        "higher loss after fine-tuning": 1,
        "kept with a base loss below 0.3 nats per token": 1,
    }


@ray_is_up
def test_floors_drop_what_the_paper_would_keep(six):
    floors = ["least_score=0", "least_loss=0.1", "least_tokens=3"]
    chosen = selected(six, "budget=6", *floors)
    assert "".join("ABCDEF"[at] for at in chosen.ids) == "BAC"
    assert {chosen.reasons[at] for at in chosen.reason[3:]} == {"score, loss or length below the minimum"}
    assert not len(selected(six, "budget=6", "least_score=0.95").ids)


@ray_is_up
def test_what_has_no_score_is_counted_and_never_kept(make_pool):
    pool = make_pool(f"other {i}" for i in range(5))
    pool = replace(pool, session=replace(pool.session, max_errors=0.2))
    chosen = selected(pool, "budget=5", base=[0, 2, 1, 3, 4], reference=[1, 1, 1, 0, 1], tokens=[3] * 5, without=[4])
    assert chosen.ids.tolist() == [3, 1, 2]
    assert np.isnan(chosen.score[[0, 4]]).all()
    assert {chosen.reasons[at] for at in chosen.reason[[0, 4]]} == {"not scored"}
    assert chosen.facts["not scored"] == 2


@ray_is_up
def test_a_reference_that_reads_other_tokens_ends_the_run(six):
    with pytest.raises(WinnowError, match="sample 3 has 5 tokens under the base model and 6 under the reference"):
        selected(six, reference_tokens=[10, 100, 20, 6, 1, 2])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


def test_a_reference_equal_to_the_base_scores_exactly_zero(base, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shutil.copytree(base, tmp_path / "copy")
    (tmp_path / "copy/note.txt").write_text("the same weights, and another identity")
    untrained = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    untrained.save_pretrained(tmp_path / "untrained")
    fields = [f"train.base.name={base}", "train.max_tokens=128"]
    for given in (f"reference.name={tmp_path}/copy", f"adapter.name={tmp_path}/untrained"):
        recipe = build("lobass", Request(), [*fields, given])
        under = recipe.steps()
        assert under["base"].fingerprint() != under["reference"].fingerprint()
        assert "train" not in under
        sums, tokens = [], []
        for model in ("base", "reference"):
            values = [value for value in under[model].load()(batch()) if isinstance(value, dict)]
            sums.append(np.array([value["nll_sum"] for value in values], np.float32))
            tokens.append(np.array([value["tokens"] for value in values]))
        assert len(tokens[0]) >= 3
        for version in ("v1_unnormalised", "v1_normalised", "v2"):
            for reduction in ("mean", "sum"):
                scores = learnability(sums[0], tokens[0], sums[1], tokens[1], version=version, reduction=reduction)
                assert (scores == 0).all()


KNOWN = {"bread": "It is baked.", "goats": "They climb and chew.", "北京": "一座城市。", "музыка": "Звуки."}
ASKED = ["Explain {}.", "{}?", "用一句话介绍{}。", "Tell me of {}.", "Про {}", "ما هو {}", "Write on {}:", "Why {}?"]


@ray_is_up
@pytest.mark.parametrize(
    ("trains", "given"), [("train.lora=none", "reference.name"), ("train.lora.rank=4", "adapter.name")]
)
def test_the_reference_is_the_last_epoch_of_a_training_on_a_share(six, base, trains, given):
    six = replace(six, session=replace(six.session, max_errors=0.2))
    fields = [trains, f"train.base.name={base}", "train.max_tokens=64", "budget=6", "share=0.5", "seed=7"]
    recipe = build("lobass", Request(), fields)
    usable = np.array([0, 1, 3, 4, 5])  # the third sample has no loss
    epochs = put_training(six, replace(recipe.train, seed=7), usable[random_order(5, 7)[:3]])
    prefilled(six, build("lobass", Request(), [*fields, f"{given}={epochs[-1]}"]), without=[2])
    assert "".join("ABCDEF"[at] for at in recipe.select(six).ids) == "FBADE"
    assert len(epochs) == 3
    assert not computed(six)


def test_end_to_end_what_cannot_be_learnt_ranks_last_and_the_store_serves_a_data_diet_too(run, tmp_path, base):
    rows = [{"instruction": asked.format(name), "output": KNOWN[name]} for asked in ASKED for name in KNOWN]
    answers = list(KNOWN.values())
    shuffled = [{**rows[at], "output": answers[(at + 1) % 4]} for at in (0, 5, 10, 15)]
    jsonl(tmp_path / "in.jsonl", [*rows, *shuffled, {"instruction": "音" * 400, "output": "cut away"}])
    (tmp_path / "p.yaml").write_text("default: {rows: 64, workers: 1}")
    words = ["in.jsonl", "--profile", "p.yaml", "max_errors=0.05", "budget=25%", f"train.base.name={base}"]
    words += [f"train.{each}" for each in ("epochs=12", "batch=8", "max_tokens=160", "learning_rate=5e-3")]
    words += ["train.precision=float32"]
    code, said = run("lobass", *words, "--out", "a", store="own")
    assert code == 0, said
    assert "higher loss after fine-tuning" in (tmp_path / "a/report.html").read_text()
    table = ledger(tmp_path / "a")
    scored = [row for row in table if row["score"] is not None]
    assert len(scored) == 36
    assert table[36]["reason"].startswith("base: nothing_to_supervise")
    assert np.mean([row["score"] for row in scored]) > 0.5
    for row in scored:
        assert row["score"] == pytest.approx(1 - row["reference_loss"] / row["base_loss"], rel=1e-5)
    for copy, at in enumerate((0, 5, 10, 15)):
        assert table[32 + copy]["score"] < table[at]["score"], "an answer to another question is learnt less"
    manifest = yaml.safe_load((tmp_path / "a/manifest.yaml").read_text())
    trained = [verb for verb in manifest["verbs"] if "train" in verb]
    assert [(verb["samples"], verb["left_out"]) for verb in trained] == [(36, {})]
    best = sorted(scored, key=lambda row: (-row["score"], row["id"]))[:10]
    kept = [json.loads(line) for line in (tmp_path / "a/selected.jsonl").read_text().splitlines()]
    assert [[rows, shuffled][row["id"] >= 32][row["id"] % 32] for row in best] == kept

    code, said = run("lobass", *words, "version=v1_unnormalised", "reduction=sum", "--out", "b", store="own")
    assert code == 0, said
    assert not computed_by(tmp_path / "b")
    for row in (row for row in ledger(tmp_path / "b") if row["score"] is not None):
        fall = (row["base_loss"] - row["reference_loss"]) * row["response_tokens"]
        assert row["score"] == pytest.approx(fall, rel=1e-4)

    like_alpaca = [f"train.{each}" for each in ("lora=none", "template=alpaca", "mean_over=tokens", "schedule=cosine")]
    code, said = run("data_diet", *words, *like_alpaca, "runs=1", "keep=top", "--out", "c", store="own")
    assert code == 0, said
    assert not computed_by(tmp_path / "c"), "its one run is LoBaSS's reference"
    diet = ledger(tmp_path / "c")
    hardest = sorted((row for row in diet if row["score"] is not None), key=lambda row: (-row["score"], row["id"]))
    assert [row["rank"] for row in hardest[:10]] == list(range(1, 11))
    assert {row["state"] for row in hardest[10:]} == {"dropped"}
    for copy, at in enumerate((0, 5, 10, 15)):
        assert diet[32 + copy]["score"] > diet[at]["score"]
    for row, other in zip(diet, table, strict=True):
        assert row["loss"] == other["reference_loss"]


def computed_by(folder) -> int:
    """How many values a run computed, and samples it trained on."""
    verbs = yaml.safe_load((folder / "manifest.yaml").read_text())["verbs"]
    return sum(verb.get("computed", 0) for verb in verbs)
