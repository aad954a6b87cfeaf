"""Hidden states averaged by position, against transformers' own."""

import numpy as np
import pytest

from operators.checkpoint import Checkpoint
from operators.embedding.hidden_state import HiddenState
from tests.batches import batch
from tests.tiny import tiny_causal


def test_a_later_token_weighs_more(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_causal(tmp_path / "model")
    (found,) = HiddenState(Checkpoint(str(folder)), template="plain").load()(batch([("Name a river. ", "多瑙河。")]))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Name a river. ", "多瑙河。")]
    ids = torch.tensor([[tokenizer.bos_token_id, *pieces[0], *pieces[1]]])
    with torch.inference_mode():
        states = model(ids, output_hidden_states=True).hidden_states[-1][0].numpy()
    weights = np.arange(1, len(states) + 1) / np.arange(1, len(states) + 1).sum()
    expected = weights @ states
    assert found.dtype == np.float16
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-3)
