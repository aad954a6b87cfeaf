"""Which tokens a model is trained on, in many scripts and with tokenizers of several kinds."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.base import RowError
from operators.supervision.supervised import IGNORED, Supervised, Supervision, Template
from operators.supervision.templates import PREAMBLE
from tests.operators.supervision.written import TEMPLATES, conversation, trained_on, whole

WORDS = st.text(st.characters(exclude_categories=["Cs", "Co", "Cn"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(prompt=WORDS, response=st.one_of(WORDS, st.sampled_from(["\nb", "\n\n b", "  4", "é", "👍🏽", "ا\n"])))
def test_borders_are_exact_in_every_template(bytewise, prompt, response):
    for template in ("alpaca", "plain", "tulu"):
        if not response.strip():
            continue
        made = Supervision(bytewise, template, 10_000)(0, conversation(prompt, response))
        said = {"plain": response, "alpaca": response + "</s>", "tulu": response.strip() + "</s>\n"}
        assert trained_on(bytewise, made) == said[template]
        assert whole(bytewise, made).endswith(said[template])


@pytest.mark.parametrize("response", ["Red, yellow", "画蛇添足", "\nx", "Écris", "4", " blue", "ʘ"])
def test_no_blank_is_put_before_a_response_by_a_tokenizer_that_puts_one_before_a_text(blank_first, response):
    said = response.strip()
    written: dict[Template, str] = {
        "tulu": f"<|user|>\nName colors.\n<|assistant|>\n{said}</s>\n",
        "alpaca": f"{PREAMBLE}\n\n### Instruction:\nName colors.\n\n### Response:{response}</s>",
        "plain": f"Name colors.{response}",
    }
    for template, text in written.items():
        made = Supervision(blank_first, template, 500)(0, conversation("Name colors.", response))
        assert whole(blank_first, made) == f"<s> {text}"
        assert text.endswith(trained_on(blank_first, made))


@pytest.mark.parametrize("response", ["Red, yellow", "画蛇添足", "\nx", "Écris", "4", "ʘ"])
def test_tokens_are_those_of_the_whole_text_where_that_has_a_border_there(blank_first, bytewise, response):
    for tokenizer in (blank_first, bytewise):
        made = Supervision(tokenizer, "plain", 500)(0, conversation("Name colors.", response))
        assert list(made.input_ids) == tokenizer(f"Name colors.{response}")["input_ids"]


def test_labels_are_the_tokens_or_ignored(bytewise):
    for template in TEMPLATES:
        made = Supervision(bytewise, template, 200)(0, conversation("a b", "c d " * 400))
        assert len(made.input_ids) == len(made.labels) == 200
        assert made.truncated
        assert set(zip(made.input_ids, made.labels, strict=True)) <= {
            pair for token in made.input_ids for pair in ((token, token), (token, IGNORED))
        }
        assert made.count == sum(label != IGNORED for label in made.labels)


@pytest.mark.parametrize("template", TEMPLATES)
def test_nothing_to_supervise_is_a_row_error(bytewise, template):
    supervision = Supervision(bytewise, template, 30)
    for messages in ([], conversation("a"), conversation("a", ""), conversation("a", " \n")):
        with pytest.raises(RowError, match=r"^nothing_to_supervise: no assistant"):
            supervision(0, messages)
    with pytest.raises(RowError, match=r"^nothing_to_supervise: the response begins after the first 30 tokens"):
        supervision(0, conversation("长" * 100, "短"))


@pytest.mark.parametrize("template", sorted({*TEMPLATES} - {"tulu_prefixes"}))
def test_an_empty_answer_between_others_is_not_trained_on(bytewise, template):
    made = Supervision(bytewise, template, 500)(0, conversation("a", "", "b", "c"))
    assert trained_on(bytewise, made).startswith("c")
    assert trained_on(bytewise, made).count("</s>") <= 1


def test_first_token_is_not_counted_as_it_follows_nothing():
    assert Supervised(0, (5, 6, 7), (5, IGNORED, 7)).count == 1


def test_response_that_is_the_first_token_alone_is_a_row_error(bytewise):
    beginless = copy.deepcopy(bytewise)
    beginless.bos_token = None
    with pytest.raises(RowError, match=r"^nothing_to_supervise"):
        Supervision(beginless, "plain", 1)(0, conversation("ab", first="assistant"))


def test_tokenizer_without_what_a_template_needs_is_refused(bytewise):
    bare = copy.deepcopy(bytewise)
    bare.eos_token = bare.chat_template = None
    for template in ("tulu", "tulu_prefixes", "alpaca"):
        with pytest.raises(ValueError, match="no end-of-sequence token"):
            Supervision(bare, template, 10)
    with pytest.raises(ValueError, match="no chat template"):
        Supervision(bare, "chat", 10)
    assert Supervision(bare, "plain", 10)(0, conversation("a", "b")).count == 1
