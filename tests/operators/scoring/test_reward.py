"""Reward: the one logit of a pair, whatever is computed with it, and nothing cut in silence."""

import numpy as np
import pytest

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.models import loading
from operators.models.by_length import Budget
from operators.scoring import passes
from operators.scoring.reward import Reward, last_pair, question
from tests.operators.scoring.scorers import batch, break_token, conversation
from tests.tiny import tiny_causal, tiny_reward

PAIRS = [
    ("Name a river.", "The Danube."),
    ("列举三种颜色。", "红色、蓝色和绿色。"),
    ("Écris {un} poème", ""),
    ("اشرح الفرق بين الطقس والمناخ", "👍🏽 e\u0301"),
    ("Кратко.", "Империя пришла в упадок. " * 3),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tiny_reward(tmp_path_factory.mktemp(kind), kind) for kind in ("deberta", "llama")}


@pytest.fixture(scope="module")
def operators(folders):
    return {
        "segments": Reward(model=Checkpoint(str(folders["deberta"]))),
        "chat": Reward(model=Checkpoint(str(folders["llama"])), pair="chat", max_tokens=256),
    }


def plain_rewards(folder, pair: str) -> list[float]:
    """The definition, by one call of transformers a pair, with all that the tokenizer gives that the model takes."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def encoded(asked, answered):
        if pair == "segments":
            return tokenizer(asked, answered, return_tensors="pt")
        chat = tokenizer.apply_chat_template(
            conversation(asked, answered), tokenize=True, return_tensors="pt", return_dict=True
        )
        return {"input_ids": chat["input_ids"]}

    with torch.no_grad():
        return [model(**encoded(*each)).logits[0, 0].item() for each in PAIRS]


@pytest.mark.parametrize("pair", ["segments", "chat"])
def test_rewards_are_the_raw_logits_of_one_call_each(operators, folders, pair):
    operator = operators[pair]
    values = operator.load()(batch(*(conversation(*each) for each in PAIRS)))
    expected = plain_rewards(folders["deberta" if pair == "segments" else "llama"], pair)
    np.testing.assert_allclose([value["reward"] for value in values], expected, atol=1e-5)
    assert not any(value["truncated"] for value in values)
    assert np.ptp(expected) > 0.05  # the texts do make a difference


@pytest.mark.parametrize("budget", [100, 100_000])
@pytest.mark.parametrize("kind", ["deberta", "llama"])
def test_padded_passes_give_what_texts_give_alone(folders, kind, budget):
    from transformers import AutoModelForSequenceClassification

    tokenizer = loading.fast_tokenizer(folders[kind])
    model = loading.placed_model(folders[kind], AutoModelForSequenceClassification, "float32")
    rows = [tokenizer(*pair, return_attention_mask=False) for pair in PAIRS]
    alone, padded = (passes.Passes(model, "right", 0, Budget(tokens)).logits(rows) for tokens in (1, budget))
    np.testing.assert_allclose(padded, alone, atol=1e-5)


@pytest.mark.parametrize("pair", ["segments", "chat"])
def test_a_reward_is_bitwise_the_same_whatever_is_computed_with_it(operators, pair):
    compute = operators[pair].load()
    samples = [conversation(*each) for each in PAIRS]
    together = compute(batch(*samples))
    assert [compute(batch(each))[0] for each in samples] == together
    assert compute(batch(*samples[::-1])) == together[::-1]


def test_the_last_answer_is_judged_given_what_was_said_before():
    messages = conversation("be brief", "u1", "a1", "u2", "a2", "u3", roles="suauau")
    pair = last_pair(messages)
    assert pair == (messages[:4], "a2")
    assert question(pair[0]) == "system: be brief\n\nuser: u1\n\nassistant: a1\n\nuser: u2"
    assert question(last_pair(conversation("u1", "a1"))[0]) == "u1"
    assert last_pair(conversation("u1")) is None


@pytest.mark.parametrize("text", ["It names the causes. ", "从前有座山，山里有座庙。", "👨‍👩‍👧‍👦🙂"], ids=ascii)
@pytest.mark.parametrize("pair", ["segments", "chat"])
def test_over_the_limit_the_answer_is_cut_and_the_input_is_a_real_one(operators, pair, text):
    limit = 100
    operator = Reward(model=operators[pair].model, pair=pair, max_tokens=limit)
    tokenizer = loading.fast_tokenizer(operator.model.folder())
    answer = text * 200

    def encoded(answered: str) -> list[int]:
        if pair == "segments":
            return tokenizer("Why?", answered)["input_ids"]
        return tokenizer.apply_chat_template(conversation("Why?", answered), tokenize=True, return_dict=True)[
            "input_ids"
        ]

    kept = next(end for end in range(len(answer), 0, -1) if end < limit * 5 and len(encoded(answer[:end])) <= limit)
    compute = operator.load()
    (cut,) = compute(batch(conversation("Why?", answer)))
    # A cut falls between tokens: where a character has several it may take one or two characters more.
    candidates = [compute(batch(conversation("Why?", answer[: kept - back])))[0] for back in range(6)]
    assert cut["truncated"]
    assert cut["reward"] in [each["reward"] for each in candidates if not each["truncated"]]


def test_without_a_limit_deberta_reads_past_its_positions(operators):
    long = conversation("Why?", "It names the causes. " * 30)
    whole, cut = (
        Reward(model=operators["segments"].model, max_tokens=limit).load()(batch(long))[0] for limit in (None, 256)
    )
    assert (whole["truncated"], cut["truncated"]) == (False, True)
    assert whole["reward"] != cut["reward"]


def test_no_limit_means_the_positions_where_a_model_has_them(operators):
    long = batch(conversation("Why?", "It names the causes. " * 30))
    model = operators["chat"].model
    unbounded, bounded = (Reward(model=model, pair="chat", max_tokens=limit).load()(long) for limit in (None, 256))
    assert unbounded == bounded
    with pytest.raises(ValueError, match=r"max_tokens=2048, but .* has 256 positions"):
        Reward(model=model, pair="chat").load()


def test_a_pair_without_a_reward_has_an_error_and_its_neighbours_have_rewards(operators):
    values = operators["chat"].load()(
        batch(
            conversation("Why?"),
            conversation(*PAIRS[0]),
            conversation("be brief", "yes", roles="sa"),
            conversation("Why? " * 2000, "So."),
            conversation("word " * 150, "So."),
            [],
        )
    )
    kinds = [value.kind if isinstance(value, RowError) else "" for value in values]
    assert kinds == ["no_answer", "", "no_question", "too_long", "too_long", "no_answer"]
    assert values[1] == operators["chat"].load()(batch(conversation(*PAIRS[0])))[0]


def test_a_chat_template_that_refuses_the_messages_is_a_row_s_error(tmp_path):
    folder = tiny_reward(tmp_path, "llama")
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    body = "{% for message in messages %}{{ message.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template + body)
    refused, fine = Reward(model=Checkpoint(str(folder)), pair="chat", max_tokens=None).load()(
        batch(conversation("be brief", "u", "a", roles="sua"), conversation("u", "a"))
    )
    assert str(refused) == "chat_template: no system here"
    assert fine["reward"]


def test_a_chat_template_that_is_not_there_is_refused(tmp_path):
    folder = tiny_reward(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no chat template: set pair=segments"):
        Reward(model=Checkpoint(str(folder)), pair="chat").load()


def test_more_than_one_logit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="num_labels=3"):
        Reward(model=Checkpoint(str(tiny_reward(tmp_path, labels=3)))).load()


def test_a_head_that_would_be_random_is_refused(tmp_path):
    import json

    folder = tiny_causal(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}))
    with pytest.raises(ValueError, match="lacks 1 weights of its model, such as score"):
        Reward(model=Checkpoint(str(folder)), max_tokens=None).load()


def test_a_classifier_without_a_padding_token_computes_texts_one_by_one(folders):
    from transformers import AutoModelForSequenceClassification

    model = loading.placed_model(folders["llama"], AutoModelForSequenceClassification, "float32")
    model.config.pad_token_id = None
    alone = passes.classifier_passes(model)
    rows = [{"input_ids": [1, 9, 8, 7]}, {"input_ids": [1, 9]}]
    together = alone.logits(rows)
    assert [each.tolist() for each in together] == [alone.logits([row])[0].tolist() for row in rows]
    assert alone.budget.tokens == 1


def test_a_logit_that_is_no_number_is_an_error_of_its_row_alone(tmp_path):
    folder = tiny_reward(tmp_path)
    first, second = (loading.fast_tokenizer(folder)(*pair)["input_ids"] for pair in PAIRS[:2])
    break_token(folder, next(token for token in first if token not in second))
    error, fine = Reward(model=Checkpoint(str(folder))).load()(batch(*(conversation(*pair) for pair in PAIRS[:2])))
    assert str(error) == "no_score: the model's logit is nan"
    assert np.isfinite(fine["reward"])


def test_every_field_enters_the_fingerprint(folders):
    model = Checkpoint(str(folders["llama"]))
    made = [
        Reward(model=model),
        Reward(model=Checkpoint(str(folders["deberta"]))),
        Reward(model=model, pair="chat"),
        Reward(model=model, max_tokens=None),
        Reward(model=model, precision="bfloat16"),
    ]
    assert len({each.fingerprint() for each in made}) == len(made)


def test_a_missing_model_is_an_error(tmp_path):
    with pytest.raises(ModelMissing, match="there is no folder"):
        Reward(model=Checkpoint(str(tmp_path / "nowhere"))).check()
