"""The loss of a response alone is that of the same tokens, after the token with which a text begins."""

import pytest

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.losses.loss import Loss
from operators.losses.unprompted_loss import UnpromptedLoss
from tests.batches import batch
from tests.tiny import tiny_causal

TEXTS = [("Name a river.", "The Danube."), ("列举三种颜色。", "红色、蓝色和绿色。"), ("?", "")]


def test_it_is_the_model_s_loss_of_the_response_after_the_first_token(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_causal(tmp_path / "model")
    operator = UnpromptedLoss(Checkpoint(str(folder)), template="alpaca", max_tokens=256)
    found = list(operator.load()(batch(TEXTS)))
    prompted = list(Loss(Checkpoint(str(folder)), template="alpaca", max_tokens=256).load()(batch(TEXTS)))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for (_, answer), alone, with_it in zip(TEXTS[:2], found, prompted, strict=False):
        tokens = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([[tokenizer.bos_token_id, *tokens]])
        with torch.inference_mode():
            expected = model(ids, labels=ids).loss.item()
        assert alone["nll_mean"] == pytest.approx(expected, rel=1e-5)
        assert alone["tokens"] == with_it["tokens"] == len(tokens)
        assert alone["nll_mean"] != with_it["nll_mean"]
    assert isinstance(found[2], RowError)
    assert operator.fingerprint() != Loss(Checkpoint(str(folder)), template="alpaca", max_tokens=256).fingerprint()
