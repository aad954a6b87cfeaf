"""UniEval against the released code's arithmetic: a padded pass with a label, a softmax over all tokens, a ratio."""

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.models.by_length import Budget
from operators.sample import MESSAGES
from operators.scoring.unieval import DIMENSIONS, UniEval
from operators.scoring.yes_no import YesNo, answer_ids
from tests.batches import batch
from tests.tiny import tiny_unieval

PAIRS = [
    ("Name a river.", "The Danube."),
    ("hi , do you know much about the internet ?", "i know a lot about different sites and some website design ."),
    ("列举三种颜色。", "红色、蓝色和绿色。"),
    ("Write a lot.", "Red, yellow and blue. " * 12),
]
ASKED = {
    "naturalness": "question: Is this a natural response in the dialogue? </s> response: {1}",
    "coherence": "question: Is this a coherent response given the dialogue history? </s> response: {1} "
    "</s> dialogue history: {0}\n\n",
    "understandability": "question: Is this an understandable response in the dialogue? </s> response: {1}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_unieval(tmp_path_factory.mktemp("unieval"))


def released(folder, texts, limit) -> list[float]:
    """The scores as the released scorer computes them."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    encoded = tokenizer(texts, max_length=limit, truncation=True, padding=True, return_tensors="pt")
    label = torch.tensor([tokenizer("No")["input_ids"][:1]] * len(texts))
    with torch.no_grad():
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], labels=label).logits
    shares = logits[:, 0].softmax(1)
    yes, no = (shares[:, tokenizer(word)["input_ids"][0]] for word in ("Yes", "No"))
    return (yes / (yes + no)).tolist()


@pytest.mark.parametrize("limit", [150, 1024])
def test_each_dimension_is_what_the_released_scorer_gives(folder, limit):
    values = UniEval(Checkpoint(str(folder)), max_tokens=limit).load()(batch(PAIRS))
    for name in DIMENSIONS:
        expected = released(folder, [ASKED[name].format(*pair) for pair in PAIRS], limit)
        assert [value[name] for value in values] == pytest.approx(expected, abs=1e-5)
    assert len({round(value[name], 4) for value in values for name in DIMENSIONS}) > 6
    tokenizer = AutoTokenizer.from_pretrained(folder)
    longest = [max(len(tokenizer(ASKED[name].format(*pair))["input_ids"]) for name in DIMENSIONS) for pair in PAIRS]
    assert [value["truncated"] for value in values] == [length > limit for length in longest]


def test_texts_of_like_length_are_padded_together_where_the_budget_allows(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer(ASKED["naturalness"].format(*pair))["input_ids"] for pair in PAIRS]
    asked = YesNo(AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), answer_ids(tokenizer))
    alone, passes = asked.shares(rows), []
    asked.budget = Budget(10_000)
    asked.model.register_forward_pre_hook(
        lambda _, given, named: passes.append(named["input_ids"].shape[0]), with_kwargs=True
    )
    assert asked.shares(rows) == pytest.approx(alone, abs=1e-6)
    assert passes == [len(rows)]


def test_what_has_no_response_or_nothing_before_it_is_an_error_and_never_a_number(folder):
    conversations = [
        [{"role": "user", "content": "Hi."}],
        [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": " \n"}],
        [{"role": "assistant", "content": "Hello."}],
    ]
    table = batch(PAIRS[:3])
    table = table.set_column(table.schema.get_field_index("messages"), "messages", pa.array(conversations, MESSAGES))
    values = UniEval(Checkpoint(str(folder))).load()(table)
    assert all(isinstance(value, RowError) for value in values)
    assert [value.kind for value in values] == ["no_answer", "empty_response", "no_question"]


def test_the_last_response_is_scored_given_all_messages_before_it(folder):
    said = [("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."), ("user", "A river?")]
    messages = [{"role": role, "content": content} for role, content in (*said, ("assistant", "The Rhine."))]
    table = batch(PAIRS[:1])
    table = table.set_column(table.schema.get_field_index("messages"), "messages", pa.array([messages], MESSAGES))
    (value,) = UniEval(Checkpoint(str(folder))).load()(table)
    history = "\n".join(content for _, content in said)
    assert value["coherence"] == pytest.approx(
        released(folder, [ASKED["coherence"].format(history, "The Rhine.")], 999)[0], abs=1e-5
    )


def test_a_tokenizer_that_cannot_tell_yes_from_no_is_refused(folder):
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "Yes": 1}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="cannot tell Yes from No"):
        answer_ids(PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]"))
    assert len(set(answer_ids(AutoTokenizer.from_pretrained(folder)))) == 2
