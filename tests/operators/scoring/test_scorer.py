"""Scorer: the expected label of each turn, whatever is scored with it, and never a number for nothing."""

import numpy as np
import pytest

from operators.base import RowError
from operators.missing import ModelMissing
from operators.models import loading
from operators.models.by_length import Budget
from operators.scoring import passes, windows
from operators.scoring.scorer import Prompts, scored_turns
from tests.operators.scoring.scorers import COMPLEXITY, LABELS, PAIRS, QUALITY, batch, break_token, conversation, scorer
from tests.tiny import tiny_causal, tiny_reward


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
    found = passes.Passes(model, "left", 0, Budget(budget)).logits(rows)
    np.testing.assert_allclose(np.stack(found)[:, 5:9], np.stack(alone), atol=1e-5)


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


def test_logits_that_are_not_numbers_are_an_error_of_their_sample_alone(tmp_path):
    folder = tiny_causal(tmp_path)
    first, second, third = (
        loading.fast_tokenizer(folder)(QUALITY.format(instruction=asked, response=answered))["input_ids"]
        for asked, answered in PAIRS[:3]
    )
    break_token(folder, next(token for token in second if token not in first + third))
    (error, fine) = scorer(folder).load()(batch(conversation(*PAIRS[0], *PAIRS[1]), conversation(*PAIRS[2])))
    assert str(error) == "no_score: turn 2: the model gives no label a probability"
    assert len(fine["scores"]) == 1


def test_missing_models_and_missing_weights_are_errors(folder, tmp_path):
    with pytest.raises(ModelMissing, match="there is no folder"):
        scorer(tmp_path / "nowhere").check()
    with pytest.raises(ValueError, match="lacks 1 weights of its model, such as lm_head"):
        scorer(tiny_reward(tmp_path, "llama")).load()
