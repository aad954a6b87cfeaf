"""Scorer: the expected label of each turn, whatever is scored with it, and never a number for nothing."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from operators import sample
from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.models import loading
from operators.scoring import windows
from operators.scoring.scorer import Prompts, Scorer, expected_labels, label_ids, scored_turns
from tests.tiny import tiny_causal, tiny_reward, tiny_tokenizer

LABELS = ("1", "2", "3", "4", "5", "6")
COMPLEXITY = "Rate the question.\nQuestion: {instruction} \nScore: "
QUALITY = "Rate the answer.\nQuestion: {instruction}\nAnswer: {response}\nScore: "
PAIRS = [
    ("Name a river.", "The Danube."),
    ("列举三种颜色。", "红色、蓝色和绿色。"),
    ("Écris {un} poème {0}", "{instruction} {{}} {"),
    ("اشرح الفرق بين الطقس والمناخ", "👍🏽 e\u0301"),
    ("?", ""),
    ("Кратко.", "Империя пришла в упадок. " * 3),
]


def conversation(*contents: str, roles: str = "ua") -> list[dict]:
    names = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    cycle = (roles * len(contents))[: len(contents)]
    return [{"role": names[role], "content": content} for role, content in zip(cycle, contents, strict=True)]


def batch(*conversations: list[dict]) -> pa.Table:
    return pa.table({"messages": pa.array(list(conversations), sample.MESSAGES)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("scorer"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return loading.fast_tokenizer(folder)


def scorer(folder, **fields) -> Scorer:
    return Scorer(model=Checkpoint(str(folder)), **({"template": QUALITY, "labels": LABELS} | fields))


def plain_score(folder, template: str, pair: tuple[str, str]) -> float:
    """The definition, by one call of transformers for one prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer(template.format(instruction=pair[0], response=pair[1]), return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(**prompt).logits[0, -1]
    chances = torch.softmax(logits[tokenizer.convert_tokens_to_ids(list(LABELS))], 0)
    return float((chances * torch.arange(1, 7)).sum())


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.7] * 6, 3.5),
        ([math.log(k) for k in range(1, 7)], 4.333333),
        ([1, 2, 3, 2, 1, 0], 3.072639),
        ([1001, 1002, 1003, 1002, 1001, 1000], 3.072639),
        ([-math.inf] * 5 + [0], 6.0),
        ([-math.inf] * 6, math.nan),
        ([0, 1, math.nan, 1, 0, 0], math.nan),
    ],
)
def test_expected_label_of_logits(logits, expected):
    found = expected_labels(np.array([logits], np.float32), np.arange(1, 7))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_an_expected_label_does_not_depend_on_the_other_rows():
    logits = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    together = expected_labels(logits, np.arange(1, 7))
    assert [expected_labels(row[None], np.arange(1, 7))[0] for row in logits] == together.tolist()


def test_a_label_counts_as_its_number_wherever_it_stands():
    assert expected_labels(np.array([[0, -np.inf], [-np.inf, 0]]), np.array([10, 2])).tolist() == [10, 2]


@pytest.mark.parametrize(
    ("messages", "drop", "empty_response"),
    [
        (conversation("u1", "a1", "u2", "a2"), [("u1", "a1"), ("u2", "a2")], [("u1", "a1"), ("u2", "a2")]),
        (conversation("u1", "a1", "u2"), [("u1", "a1")], [("u1", "a1"), ("u2", "")]),
        (conversation("a0", "u1", "a1", roles="aua"), [("u1", "a1")], [("u1", "a1")]),
        (conversation("s", "u1", "a1", roles="sua"), [("u1", "a1")], [("u1", "a1")]),
        (conversation("u1", "u2", "a1", "t", "a2", roles="uuata"), [("u1\nu2", "a1\na2")], [("u1\nu2", "a1\na2")]),
        (conversation("u1"), [], [("u1", "")]),
        (conversation("a0", roles="a"), [], []),
        ([], [], []),
    ],
)
def test_turns_are_paired_by_role(messages, drop, empty_response):
    assert scored_turns(messages, "drop") == drop
    assert scored_turns(messages, "empty_response") == empty_response


@pytest.mark.parametrize("template", [COMPLEXITY, QUALITY])
def test_scores_are_those_of_one_plain_forward_pass_each(folder, template):
    compute = scorer(folder, template=template).load()
    values = compute(batch(*(conversation(*pair) for pair in PAIRS)))
    expected = [plain_score(folder, template, pair) for pair in PAIRS]
    np.testing.assert_allclose([value["scores"] for value in values], np.array(expected)[:, None], atol=1e-5)
    assert not any(value["truncated"] for value in values)
    assert np.ptp(expected) > 0.1  # the texts do make a difference


def test_every_turn_is_scored_without_history(folder):
    compute = scorer(folder).load()
    flat = [text for pair in PAIRS for text in pair]
    alone = [compute(batch(conversation(*pair)))[0]["scores"][0] for pair in PAIRS]
    dialogue, unanswered = compute(batch(conversation(*flat), conversation(*flat, "And now?")))
    assert dialogue["scores"] == unanswered["scores"] == alone
    released = scorer(folder, turns="empty_response").load()(batch(conversation(*flat, "And now?")))[0]["scores"]
    assert released == [*alone, compute(batch(conversation("And now?", "")))[0]["scores"][0]]


@pytest.mark.parametrize("budget", [1, 100, 100_000])
def test_padded_passes_give_what_texts_give_alone(folder, tokenizer, budget):
    from transformers import AutoModelForCausalLM

    model = loading.placed_model(folder, AutoModelForCausalLM, "float32")
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for pair in PAIRS for text in pair]
    import torch

    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([row["input_ids"]])).logits[0, -1, 5:9].numpy() for row in rows]
    found = windows.Passes(model, "left", 0, budget).logits(rows, [5, 6, 7, 8])
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-5)


def test_a_score_is_bitwise_the_same_whatever_is_scored_with_it(folder):
    compute = scorer(folder).load()
    samples = [conversation(*pair) for pair in PAIRS]
    together = compute(batch(*samples))
    assert [compute(batch(each))[0] for each in samples] == together
    assert compute(batch(*samples[::-1])) == together[::-1]


@pytest.mark.parametrize(
    "text",
    ["The causes are weighed. ", "从前有座山，山里有座庙。", "👨‍👩‍👧‍👦🙂", "اشرح الفرق ", "x", "  \n"],
    ids=ascii,
)
def test_a_long_prompt_loses_the_end_of_the_response_and_then_of_the_instruction(tokenizer, text):
    limit = 80
    prompts = Prompts(QUALITY, windows.Window(tokenizer, limit))
    for asked, answered in (("Why {0}?", "R" + text * 400), ("I" + text * 400, "Because."), ("I" + text * 3000, "")):
        tokens, truncated = prompts.prompt(asked, answered)
        shown = tokenizer.decode(tokens["input_ids"], skip_special_tokens=True)
        assert truncated
        assert limit - 8 <= len(tokens["input_ids"]) <= limit
        begin, middle, end = QUALITY.replace("{instruction}", "|").replace("{response}", "|").split("|")
        assert shown.startswith(begin)
        assert shown.endswith(end)
        kept_asked, kept_answered = shown[len(begin) : len(shown) - len(end)].split(middle)
        assert asked.startswith(kept_asked)
        assert answered.startswith(kept_answered)
        assert kept_answered == "" or kept_asked == asked
        whole = tokenizer(QUALITY.format(instruction=kept_asked, response=kept_answered))["input_ids"]
        assert tokens["input_ids"] == whole


def test_what_fits_or_is_not_shown_is_not_cut(folder, tokenizer):
    text = QUALITY.format(instruction="Why?", response="So.")
    exactly = len(tokenizer(text)["input_ids"])
    assert not Prompts(QUALITY, windows.Window(tokenizer, exactly)).prompt("Why?", "So.")[1]
    assert Prompts(QUALITY, windows.Window(tokenizer, exactly - 1)).prompt("Why?", "So.")[1]
    unseen, cut = scorer(folder, template=COMPLEXITY).load()(
        batch(conversation("Why?", "So. " * 500), conversation("Why? " * 500, "So."))
    )
    assert (unseen["truncated"], cut["truncated"]) == (False, True)
    assert unseen["scores"] == scorer(folder, template=COMPLEXITY).load()(batch(conversation("Why?", "")))[0]["scores"]


def test_max_tokens_has_to_lie_between_the_template_and_the_positions(folder):
    scorer(folder, max_tokens=256).load()
    with pytest.raises(ValueError, match=r"max_tokens=257, but .* has 256 positions"):
        scorer(folder, max_tokens=257).load()
    with pytest.raises(ValueError, match="max_tokens=9 leaves no room"):
        scorer(folder, max_tokens=9).load()


def test_a_tokenizer_that_joins_blank_and_digit_is_refused_with_what_fits(tmp_path):
    joined = tiny_causal(tmp_path, digits="joined")
    with pytest.raises(
        ValueError, match=r"label '1' .*without the blank at its end fits, with the labels \[' 1', ' 2'"
    ):
        scorer(joined).load()
    fitting = scorer(joined, template=QUALITY.rstrip(), labels=tuple(" " + label for label in LABELS))
    (value,) = fitting.load()(batch(conversation(*PAIRS[0])))
    assert 1 < value["scores"][0] < 6


def test_a_label_of_several_tokens_is_refused(folder):
    with pytest.raises(ValueError, match=r"label '10' .*use another tokenizer"):
        scorer(folder, labels=("1", "10")).load()


def test_label_ids_are_the_tokens_after_any_text(tmp_path):
    alone, joined = tiny_tokenizer(tmp_path / "a"), tiny_tokenizer(tmp_path / "j", digits="joined")
    assert label_ids(alone, QUALITY, LABELS) == alone.convert_tokens_to_ids(list(LABELS))
    assert label_ids(joined, QUALITY, LABELS) == [None] * 6
    # After a field, what precedes the label is the text's own end: there is no one token for all texts.
    assert None in label_ids(joined, "{instruction} ", LABELS)


def test_template_and_labels_come_from_scorer_json_and_enter_the_fingerprint(tmp_path):
    folder = tiny_causal(tmp_path)
    (folder / "scorer.json").write_text(json.dumps({"template": COMPLEXITY, "labels": LABELS}))
    written = Scorer(model=Checkpoint(str(folder)))
    before = written.fingerprint()
    samples = batch(*(conversation(*pair) for pair in PAIRS))
    assert written.load()(samples) == scorer(folder, template=COMPLEXITY).load()(samples)
    (folder / "scorer.json").write_text(json.dumps({"template": QUALITY, "labels": LABELS}))
    assert written.fingerprint() != before
    assert written.load()(samples) == scorer(folder).load()(samples)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no template"),
        ('{"labels": ["1", "2"]}', "no template"),
        ('{"template": "{instruction}: "}', "no labels"),
        ('{"template": "{instruction}: ", "labels": [1, 2]}', "no labels"),
        ('{"template": "{instruction}: ", "labels": ["1", "one"]}', "different whole numbers"),
        ('{"template": "{conversation}: ", "labels": ["1", "2"]}', "unknown field {conversation}"),
        ('["1"]', "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_a_scorer_without_usable_settings_is_refused(tmp_path, content, reason):
    folder = tiny_causal(tmp_path)
    if content is not None:
        (folder / "scorer.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        Scorer(model=Checkpoint(str(folder))).load()


@pytest.mark.parametrize(
    "fields",
    [
        {"template": "no field"},
        {"template": "{instruction.__class__}"},
        {"labels": ("1",)},
        {"labels": ("1", " 1")},
        {"labels": ("1", "high")},
        {"max_tokens": 0},
        {"turns": "keep"},
        {"temperature": 0.5},
    ],
)
def test_wrong_fields_are_refused(fields):
    with pytest.raises(ValueError, match="validation error"):
        Scorer(model=Checkpoint("a/b"), **fields)


def test_every_field_enters_the_fingerprint(folder, tmp_path):
    base = scorer(folder)
    others = [
        scorer(folder, template=COMPLEXITY),
        scorer(folder, labels=LABELS[:5]),
        scorer(folder, max_tokens=64),
        scorer(folder, turns="empty_response"),
        scorer(folder, precision="float32"),
        scorer(tiny_causal(tmp_path, seed=1)),
    ]
    assert len({each.fingerprint() for each in [base, *others]}) == 1 + len(others)


def test_a_sample_that_cannot_be_scored_has_an_error_and_its_neighbours_have_scores(folder):
    values = scorer(folder).load()(
        batch(conversation("Why?"), conversation(*PAIRS[0]), [], conversation(*PAIRS[1], " \n", ""))
    )
    assert [value.kind for value in values if isinstance(value, RowError)] == ["no_turns", "no_turns", "empty_text"]
    assert values[1] == scorer(folder).load()(batch(conversation(*PAIRS[0])))[0]


def test_logits_that_are_not_numbers_are_an_error(folder, monkeypatch):
    compute = scorer(folder).load()
    passed = windows.Passes.logits

    def broken(self, rows, columns):
        logits = passed(self, rows, columns)
        logits[1] = np.nan
        return logits

    monkeypatch.setattr(windows.Passes, "logits", broken)
    (error, fine) = compute(batch(conversation(*PAIRS[0], *PAIRS[1]), conversation(*PAIRS[2])))
    assert str(error) == "no_score: turn 2: the model gives no label a probability"
    assert len(fine["scores"]) == 1


def test_values_fit_the_declared_type(folder):
    values = scorer(folder).load()(batch(conversation(*PAIRS[0], *PAIRS[1])))
    assert pa.array(values, Scorer.gives).to_pylist() == values


def test_missing_models_and_missing_weights_are_errors(folder, tmp_path):
    with pytest.raises(ModelMissing, match="there is no folder"):
        scorer(tmp_path / "nowhere").check()
    with pytest.raises(ValueError, match="lacks 1 weights of its model, such as lm_head"):
        scorer(tiny_reward(tmp_path, "llama")).load()
