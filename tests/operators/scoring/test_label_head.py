"""The logits of labels: in float32 also where the model is not, and what the model's own would be."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
)

from operators.models import loading
from operators.scoring.label_head import LabelHead
from operators.scoring.passes import classifier_passes, label_passes
from operators.scoring.yes_no import YesNo
from tests.operators.scoring.scorers import LABELS, PAIRS, QUALITY, batch, conversation, scorer
from tests.tiny import tiny_reward, tiny_unieval

TOKENS = [7, 5, 300]


@pytest.fixture(scope="module")
def rows(tokenizer):
    return [{"input_ids": tokenizer(text)["input_ids"]} for pair in PAIRS for text in pair if text]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_are_the_product_of_hidden_state_and_rows_of_the_head_in_float32(folder, rows, precision):
    model = loading.placed_model(folder, AutoModelForCausalLM, precision)
    with torch.inference_mode():
        hidden = [model.model(input_ids=torch.tensor([row["input_ids"]])).last_hidden_state[0, -1] for row in rows]
        expected = torch.stack(hidden).double() @ model.lm_head.weight[TOKENS].double().T
    found = np.array(label_passes(model, TOKENS).logits(rows), np.float32)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_a_score_of_a_bfloat16_model_has_no_steps(folder, tokenizer):
    model = loading.placed_model(folder, AutoModelForCausalLM, "bfloat16")
    values = scorer(folder, precision="bfloat16").load()(batch(*(conversation(*pair) for pair in PAIRS)))
    tokens = tokenizer.convert_tokens_to_ids(list(LABELS))
    for (asked, answered), value in zip(PAIRS, values, strict=True):
        ids = tokenizer(QUALITY.format(instruction=asked, response=answered), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
            chances = torch.softmax(model.lm_head.weight[tokens].double() @ hidden.double(), 0)
        assert value["scores"] == pytest.approx([float(chances @ torch.arange(1, 7).double())], abs=1e-6)


@pytest.mark.parametrize("kind", ["llama", "deberta"])
def test_a_reward_of_a_bfloat16_model_has_no_steps(kind, tmp_path):
    model = loading.placed_model(tiny_reward(tmp_path, kind), AutoModelForSequenceClassification, "bfloat16")
    rows = [{"input_ids": [1, 5 + at, 9, 11]} for at in range(12)]
    passes = classifier_passes(model)
    entered = []
    head = next(each for each in model.modules() if isinstance(each, LabelHead))
    head.register_forward_pre_hook(lambda _, given: entered.append(given[0].double()))
    found = np.array(passes.logits(rows), np.float32)
    last = [each[0, -1] if kind == "llama" else each[0] for each in entered]  # DeBERTa's is that of the first token
    with torch.inference_mode():
        expected = [each @ head.weight[0].double() + (0 if head.bias is None else head.bias.double()) for each in last]
    np.testing.assert_allclose(found.ravel(), torch.stack(expected).ravel(), atol=1e-6)
    assert (found != torch.tensor(found).bfloat16().float().numpy()).mean() > 0.5


def test_the_shares_of_a_bfloat16_model_have_no_steps(tmp_path):
    model = loading.placed_model(tiny_unieval(tmp_path), AutoModelForSeq2SeqLM, "bfloat16")
    wide = model.get_output_embeddings().weight.detach().double()
    asked = YesNo(model, (7, 5))
    entered = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, given: entered.append(given[0][0, 0].double()))
    found = asked.shares([[1, 5 + at, 9] for at in range(6)])
    with torch.inference_mode():
        expected = [float((wide[[7, 5]] @ each).softmax(0)[0]) for each in entered]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_model_caps_the_logits_of_the_labels_as_it_caps_all(rows):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=0.1,
        tie_word_embeddings=True,
    )
    model = Gemma2ForCausalLM(config).eval()
    with torch.inference_mode():
        expected = [model(input_ids=torch.tensor([row["input_ids"]])).logits[0, -1, TOKENS] for row in rows]
    found = np.array(label_passes(model, TOKENS).logits(rows), np.float32)
    np.testing.assert_allclose(found, torch.stack(expected).numpy(), atol=1e-6)
    assert np.abs(found).max() > 0.05


def test_a_head_with_a_bias_keeps_it():
    head = torch.nn.Linear(4, 9)
    states = torch.randn(2, 4)
    torch.testing.assert_close(LabelHead(head, TOKENS[:2])(states), head(states)[:, TOKENS[:2]])
