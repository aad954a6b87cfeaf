"""The data diet: cuts of scores worked out by hand, the runs that are asked for, refusals, and wrong labels.

test_lobass.py has the whole recipe, on what LoBaSS left in the store.
"""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from jobs.engine.command.config import Request, build
from jobs.engine.terminal.errors import UsageError
from operators.base import Operator, RowError
from operators.kernels.data_diet import over_runs
from operators.kernels.sampling import random_order
from operators.losses.loss import FIELDS
from operators.supervision.supervised import Supervision
from operators.training.loop import train
from tests.batches import batch
from tests.jobs.recipes.stored import computed, put_training, put_values
from tests.tiny import tiny_causal

ray_is_up = pytest.mark.usefixtures("ray_session")

RUNS = np.array([[1, 8, 3, 5, 7, 2], [3, 8, 5, 7, 11, 2]]) / 16
MEANS = np.array([2, 8, 4, 6, 9, 2]) / 16
TOKENS = [4, 1, 2, 3, 1, 50]
LABELS = ["joy", "anger", "joy", "怒", "joy", "怒"]
RUN = "trained=[made/one, made/two]"


def scored(name, scores):
    """What a run's operator gives for these scores."""
    shared = {"truncated": False}
    if name.startswith("grand"):
        rows = [{"norm": score, "nll_mean": 2 * score} for score in scores]
    else:
        fields = dict.fromkeys(FIELDS, 0.5)
        rows = [{**fields, "nll_mean": 2 * s, "el2n_mean": s, "el2n_sum": 10 - s, "el2n_fro": -s} for s in scores]
    return [{**row, "tokens": tokens, **shared} for row, tokens in zip(rows, TOKENS, strict=True)]


def prefilled(pool, recipe, score="el2n", without=()):
    """Puts the two runs' scores into the store, as if they had been computed; `without`: ids that the second lacks."""
    operators = {name: step for name, step in recipe.steps().items() if isinstance(step, Operator)}
    given = {"label": LABELS, "base": scored("el2n", RUNS[0]), "run_1": scored(score, RUNS[0])}
    given["run_2"] = scored(score, RUNS[1])
    nothing = RowError("nonfinite", "the loss is infinite")
    for name in ("base", "run_2"):
        given[name] = [nothing if at in without else value for at, value in enumerate(given[name])]
    for name in given.keys() & operators.keys():
        put_values(pool, operators[name], given[name])


def selected(pool, *overrides, score="el2n", without=()):
    """The selection with the two runs' scores."""
    recipe = build("data_diet", Request(), [RUN, f"score={score}", *overrides])
    prefilled(pool, recipe, score, without)
    return recipe.select(pool)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture
def six(make_pool):
    return make_pool([f"{'long ' * tokens}sample {i}" for i, tokens in enumerate(TOKENS)])


@ray_is_up
@pytest.mark.parametrize(
    ("overrides", "ids"),
    [
        (["keep=top"], [4, 1]),
        (["keep=bottom"], [0, 5]),
        ([], [2, 3]),
        (["keep=window", "offset=0.5"], [1, 3]),
        (["keep=window", "offset=0.67"], [4, 1]),
        (["keep=top", "aggregate=sum"], [0, 5]),
        (["keep=bottom", "aggregate=fro"], [4, 1]),
    ],
)
def test_each_part_of_the_mean_over_runs(six, overrides, ids):
    chosen = selected(six, "budget=2", *overrides)
    assert chosen.ids.tolist() == ids
    if "aggregate" not in str(overrides):
        assert chosen.score[:].tolist() == MEANS.tolist()
        assert chosen.details["loss"].tolist() == (2 * MEANS).tolist()
        assert chosen.details["spread"].tolist() == [1 / 16, 0, 1 / 16, 1 / 16, 2 / 16, 0]


@ray_is_up
def test_facts_say_how_far_runs_agree_and_which_classes_go(six):
    chosen = selected(six, "budget=2", "keep=top", "label.name=mood")
    assert chosen.facts.pop("rank correlation between runs") == pytest.approx(1 - 6 * 4 / (6 * 35))
    assert chosen.facts.pop("rank correlation with the loss") == pytest.approx(1)
    expected = float(spearmanr(MEANS, TOKENS).statistic)
    assert chosen.facts.pop("rank correlation with response length") == pytest.approx(expected)
    assert chosen.facts == {"not scored": 0, "truncated": 0, "kept per label": {"anger": 1, "joy": 1, "怒": 0}}
    assert [chosen.reasons[at] for at in chosen.reason[[0, 4]]] == [
        "not in the part that is kept (top)", "in the kept part (top)",
    ]  # fmt: skip


@ray_is_up
def test_a_summed_loss_s_gradient_is_the_mean_one_s_times_the_tokens(six):
    chosen = selected(six, "budget=1", "keep=top", score="grand")
    assert (chosen.ids.tolist(), chosen.score[:].tolist()) == ([4], MEANS.tolist())
    chosen = selected(six, "budget=1", "keep=top", "aggregate=sum", score="grand_lora")
    assert chosen.ids.tolist() == [5]
    assert chosen.score[:].tolist() == (MEANS * TOKENS).tolist()


@ray_is_up
def test_a_sample_that_a_run_has_no_score_of_is_never_kept(six):
    six = replace(six, session=replace(six.session, max_errors=0.5))
    chosen = selected(six, "budget=6", "keep=top", without=[1, 4])
    assert chosen.ids.tolist() == [3, 2, 0, 5]
    assert chosen.facts["not scored"] == 2
    with pytest.raises(UsageError, match="no 2 scores after the first 3 of 4: lower offset or budget"):
        selected(six, "budget=2", "keep=window", "offset=0.75", without=[1, 4])


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["keep=window"], "needs an offset"),
        (["offset=0.2"], "no other part takes one"),
        (["keep=window", "offset=0.2", "budget=tokens:20"], "in samples or percent"),
        (["score=grand", "aggregate=fro"], "aggregate=fro is for token errors"),
        (["score=grand_lora", "train.lora=null"], "score=grand_lora needs an adapter"),
    ],
)
def test_what_does_not_go_together_is_refused_without_data(overrides, told):
    with pytest.raises(UsageError, match=told):
        build("data_diet", Request(), overrides).check()


def test_there_is_a_step_for_each_run():
    steps = build("data_diet", Request(), ["runs=10"]).steps()
    assert list(steps) == ["base", "train", *(f"run_{number}" for number in range(1, 11))]
    assert list(build("data_diet", Request(), [RUN]).steps()) == ["run_1", "run_2"]


@ray_is_up
def test_runs_are_trained_from_their_own_seeds_on_the_same_share(six, base):
    six = replace(six, session=replace(six.session, max_errors=0.2))
    fields = [f"train.base.name={base}", "train.max_tokens=64", "train.epochs=2", "keep=top", "budget=2"]
    recipe = build("data_diet", Request(), [*fields, "runs=2", "share=0.5", "seed=7"])
    prefilled(six, recipe, without=[4])
    drawn = np.array([0, 1, 2, 3, 5])[random_order(5, 7)[:3]]
    runs = [put_training(six, replace(recipe.train, seed=seed), drawn)[-1] for seed in (7, 7 + 424_242)]
    prefilled(six, build("data_diet", Request(), [*fields, f"trained=[{runs[0]}, {runs[1]}]"]))
    chosen = recipe.select(six)
    assert chosen.ids.tolist() == [1, 3]
    assert chosen.score[[1, 3]].tolist() == MEANS[[1, 3]].tolist()
    assert not computed(six)


WORDS = {"bread": "food", "goats": "animal", "北京": "place", "rice": "food"}
ASKED = ["Sort {}.", "{}?", "归类：{}", "À classer : {}", "{} is …", "Что это: {}", "What is {}?", "صنف {}"]
WRONG = {"Sort bread now.": "animal", "goats, please?": "place", "北京 是什么": "food"}


def test_wrong_labels_are_hard_for_adapters_and_an_untrained_one_has_no_gradient(base, tmp_path):
    right = {asked.format(word): label for asked in ASKED for word, label in WORDS.items()}
    table = batch([*right.items(), *WRONG.items()])
    modules = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj", "lm_head"]
    fields = [f"train.base.name={base}", "train.epochs=8", "train.batch=8", "train.learning_rate=1e-2"]
    fields += ["train.max_tokens=64", "train.precision=float32", f"train.lora.modules=[{', '.join(modules)}]"]
    fields += ["train.lora.rank=8", "train.lora.alpha=16", "train.lora.dropout=0"]
    trainer = build("data_diet", Request(), fields).train
    supervision = Supervision(AutoTokenizer.from_pretrained(base), trainer.template, trainer.max_tokens)
    rows = [supervision(at, messages) for at, messages in enumerate(table["messages"].to_pylist())]
    runs = [train(replace(trainer, seed=seed), rows, tmp_path / str(seed))[-1] for seed in (0, 424_242)]

    def under(score, folders):
        return build("data_diet", Request(), [*fields, f"score={score}", f"trained=[{', '.join(folders)}]"]).steps()

    def means(score, field):
        loaded = [operator.load() for operator in under(score, [str(run) for run in runs]).values()]
        return over_runs(*([value[field] for value in compute(table)] for compute in loaded)).mean

    for scores in (means("el2n", "el2n_mean"), means("grand_lora", "norm"), means("grand", "norm")):
        assert scores[32:].mean() > 1.5 * scores[:32].mean()
    weights = load_file(runs[0] / "adapter_model.safetensors")
    still = {name: weight * 0 if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(still, runs[0] / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"was never trained \(its B matrices are all 0\)"):
        under("grand_lora", [str(runs[0])])["run_1"].load()
