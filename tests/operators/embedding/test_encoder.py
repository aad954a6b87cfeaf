"""The encoders: the vector of a text does not depend on the texts around it."""

import random

import numpy as np
import pytest
import torch

from operators.checkpoint import MINILM, Checkpoint
from operators.embedding import encoder
from operators.embedding.embed import Embed
from tests.operators.embedding.texts import TEXTS, batch, in_batches, many_texts


def test_auto_takes_bfloat16_only_where_it_is_fast_and_close(folders, monkeypatch):
    operator = Embed(model=Checkpoint(str(folders["bert"])), stored="float32")
    exact, short = (
        Embed(model=operator.model, stored="float32", precision=precision).load()(batch(TEXTS))
        for precision in ("float32", "bfloat16")
    )
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(encoder, "CLOSE", 0.5)
    assert np.array_equal(operator.load()(batch(TEXTS)), short)
    monkeypatch.setattr(encoder, "CLOSE", 1.1)
    assert np.array_equal(operator.load()(batch(TEXTS)), exact)
    monkeypatch.setattr(encoder, "CLOSE", 0.5)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert np.array_equal(operator.load()(batch(TEXTS)), exact)


def test_padding_is_masked_out_of_the_mean(folders):
    """The path of a GPU, computed here on the CPU: two sentences of 5 and 10 tokens, by hand."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folders["bert"]).eval()
    rows = [[101, 7592, 2088, 999, 102], [101, 2023, 2003, 1037, 2936, 6251, 2084, 2008, 1012, 102]]
    by_hand = [model(input_ids=torch.tensor([row])).last_hidden_state[0].detach().numpy() for row in rows]
    padded = encoder.Padded(model, padding=0)
    pools = {"mean": [state.sum(0) / len(state) for state in by_hand]}
    pools |= {"cls": [state[0] for state in by_hand], "last": [state[-1] for state in by_hand]}
    for pooling, expected in pools.items():
        np.testing.assert_allclose(encoder.encode(padded, rows, pooling), np.stack(expected), atol=2e-5)


def test_minilm_vectors_are_bitwise_the_same_in_any_batch(minilm):
    texts = many_texts(200)
    order = random.Random(1).sample(range(200), 200)
    together = minilm(batch(texts))
    shuffled = [texts[at] for at in order]
    for size, count in ((1, 60), (7, 100), (64, 200), (200, 200)):
        found = in_batches(minilm, shuffled[:count], size)
        assert np.array_equal(found, together[order[:count]]), f"batches of {size}"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_vectors_are_bitwise_the_same_in_any_batch_on_two_threads(folders, kind, precision):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compute = Embed(model=Checkpoint(str(folders[kind])), precision=precision, stored="float32").load()
        texts = many_texts(20)
        together = compute(batch(texts))
        for size in (1, 7):
            assert np.array_equal(in_batches(compute, texts, size), together), f"batches of {size}"
    finally:
        torch.set_num_threads(threads)


def test_texts_are_computed_alone_where_rows_depend_on_each_other(folders, monkeypatch, caplog):
    """A library whose products change with the number of their rows."""
    product = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda rows, *weights: product(rows, *weights) + 1e-3 * rows.shape[0]
    )
    compute = Embed(model=Checkpoint(str(folders["bert"])), scale="raw", stored="float32").load()
    assert "one at a time" in caplog.text
    assert np.array_equal(in_batches(compute, TEXTS, 1), compute(batch(TEXTS)))


def test_packed_and_equal_lengths_agree():
    from transformers import AutoModel, AutoTokenizer

    folder = Checkpoint(MINILM).folder()
    model = AutoModel.from_pretrained(folder).eval()
    rows = AutoTokenizer.from_pretrained(folder)(TEXTS, truncation=True, max_length=256)["input_ids"]
    packed = encoder.encode(encoder.Packed(model), rows, "mean")
    np.testing.assert_allclose(encoder.encode(encoder.EqualLengths(model), rows, "mean"), packed, atol=1e-5)
