"""The encoders: the vector of a text does not depend on the texts around it."""

import gc
import random
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from operators.checkpoint import MINILM, Checkpoint
from operators.embedding import encoder
from operators.embedding.embed import Embed
from operators.embedding.padded import multiplied
from operators.models import memory
from operators.models.by_length import Budget
from operators.models.probes import PROBES
from tests.operators.embedding.texts import TEXTS, batch, in_batches, many_texts
from tests.small_device import small_device


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
    padded.budget.tokens = 4096
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


@pytest.fixture
def most_models(monkeypatch):
    """Counts the models that are in memory when another has been read."""
    read, loaded = encoder._model, []
    living = []

    def counted(folder, dtype):
        model = read(folder, dtype)
        gc.collect()  # a model that nobody can reach is not in anyone's way
        living.append(1 + sum(each() is not None for each in loaded))
        loaded.append(weakref.ref(model.embeddings.word_embeddings.weight))
        return model

    monkeypatch.setattr(encoder, "_model", counted)
    return living


@pytest.mark.parametrize(("close", "read"), [(0.5, 2), (1.1, 3)])
def test_auto_has_one_model_in_memory_at_a_time(folders, monkeypatch, most_models, close, read):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(encoder, "CLOSE", close)
    Embed(model=Checkpoint(str(folders["bert"]))).load()
    assert most_models == [1] * read


def rows_of(folder):
    return AutoTokenizer.from_pretrained(folder)(TEXTS, truncation=True, max_length=150)["input_ids"]


def on_gpu(folder, precision):
    """The encoder of a GPU, made and used here on the CPU, with padded passes."""
    return encoder._on_gpu(Path(folder), precision, rows_of(folder), 0, "mean", torch.device("cpu"))


@pytest.mark.parametrize(("close", "read", "products"), [(0.5, 1, "bfloat16"), (1.1, 2, "tf32")])
def test_auto_on_a_gpu_narrows_the_model_that_it_has(folders, monkeypatch, most_models, close, read, products):
    monkeypatch.setattr(encoder, "bfloat16_is_fast", lambda device: True)
    monkeypatch.setattr(encoder, "CLOSE", close)
    found = on_gpu(folders["bert"], "auto")
    assert found.products == products
    assert most_models == [1] * read
    kinds = {name.rsplit(".", 2)[-2]: weight.dtype for name, weight in found.model.named_parameters()}
    assert kinds["query"] is (torch.bfloat16 if products == "bfloat16" else torch.float32)
    assert kinds["LayerNorm"] is kinds["word_embeddings"] is torch.float32


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "llama"])
def test_narrowed_products_are_nearly_exact_whatever_the_model(folders, kind, monkeypatch):
    monkeypatch.setattr(memory, "_budget", lambda model, bytes_per_token: Budget(4096))
    rows = rows_of(folders[kind])
    exact, short = (
        encoder.encode(on_gpu(folders[kind], precision), rows, "mean") for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, short)
    assert encoder.least_cosine(exact, short) > 0.999


def test_minilm_is_narrowed_by_auto_where_whole_bfloat16_would_be_refused():
    folder = Checkpoint(MINILM).folder()
    rows = AutoTokenizer.from_pretrained(folder)(list(PROBES), truncation=True, max_length=256)["input_ids"]
    exact = encoder.encode(on_gpu(folder, "float32"), rows, "mean")
    assert encoder.least_cosine(exact, encoder.encode(on_gpu(folder, "bfloat16"), rows, "mean")) > encoder.CLOSE
    whole = encoder.EqualLengths(encoder._model(folder, torch.bfloat16))
    assert encoder.least_cosine(exact, encoder.encode(whole, rows, "mean")) < encoder.CLOSE


def test_float32_products_are_tf32_only_where_auto_has_fallen_back():
    before = torch.backends.cuda.matmul.fp32_precision
    with multiplied("tf32", torch.device("cpu")):
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == before
    with multiplied("float32", torch.device("cpu")):
        assert torch.backends.cuda.matmul.fp32_precision == before


def test_texts_that_do_not_fit_together_are_embedded_in_smaller_passes(folders, monkeypatch):
    rows = rows_of(folders["bert"])
    expected = encoder.encode(on_gpu(folders["bert"], "float32"), rows, "mean")
    tried = small_device(monkeypatch, room=200)
    found = on_gpu(folders["bert"], "float32")
    np.testing.assert_allclose(encoder.encode(found, rows, "mean"), expected, atol=2e-5)
    assert tried[0] > 200 >= tried[-1]
    assert found.budget.tokens <= 200
