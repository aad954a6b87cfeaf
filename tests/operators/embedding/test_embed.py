"""Embed: the vectors are the model's, and do not depend on the texts around them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from operators import sample
from operators.base import RowError
from operators.checkpoint import MINILM, Checkpoint
from operators.embedding import embed
from operators.embedding.advice import Advice
from operators.embedding.embed import Embed
from operators.models import cutting
from operators.models.cutting import cut
from operators.models.probes import PROBES
from tests.operators.embedding.texts import TEXTS, batch, in_batches


def one_by_one(folder: Path, texts: list[str]) -> list:
    """The last hidden states of each text, computed alone by transformers: (tokens, width) a text."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return [
            model(**tokenizer(text, truncation=True, max_length=160, return_tensors="pt", return_token_type_ids=False))
            .last_hidden_state[0]
            .numpy()
            for text in texts
        ]


def cosines(first, second) -> np.ndarray:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


def test_float32_equals_sentence_transformers(minilm):
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(Checkpoint(MINILM).folder()), device="cpu")
    np.testing.assert_allclose(minilm(batch(TEXTS)), peer.encode(TEXTS, batch_size=32), atol=1e-5)


def test_bfloat16_keeps_to_float32(minilm, monkeypatch):
    monkeypatch.setattr(embed, "PROBES", PROBES[:2])  # without hardware for bfloat16 it is slow
    short = [*TEXTS[:6], PROBES[0]]
    found = Embed(precision="bfloat16").load()(batch(short))
    assert found.dtype == np.float16
    assert cosines(found, minilm(batch(short))).min() >= 0.9999


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "llama"])
def test_pooling_equals_transformers_one_by_one(folders, kind, pooling):
    pooled = {"mean": lambda state: state.mean(0), "cls": lambda state: state[0], "last": lambda state: state[-1]}
    operator = Embed(
        model=Checkpoint(str(folders[kind])),
        pooling=pooling,
        scale="raw",
        max_tokens=120 if kind == "xlm-roberta" else None,
        precision="float32",
        stored="float32",
    )
    texts = TEXTS[:6]
    expected = np.stack([pooled[pooling](state) for state in one_by_one(folders[kind], texts)])
    np.testing.assert_allclose(operator.load()(batch(texts)), expected, atol=2e-5)


def test_texts_without_content_are_errors_and_the_others_values(minilm):
    values = minilm(batch(["", TEXTS[0], " \n\t", TEXTS[1]]))
    assert [getattr(value, "kind", None) for value in values] == ["empty_text", None, "empty_text", None]
    assert np.array_equal(np.stack([values[1], values[3]]), minilm(batch(TEXTS[:2])))
    assert [value.kind for value in minilm(batch(["", ""]))] == ["empty_text", "empty_text"]
    assert len(minilm(batch([]))) == 0


def test_texts_that_the_model_cannot_read_are_errors_with_their_share(minilm):
    chinese = "小笼包是一种皮薄多汁的蒸包子。吃的时候先咬一个小口，喝掉汤汁，免得烫嘴。"
    thai = "ช่วยอธิบายการเปลี่ยนแปลงสภาพภูมิอากาศให้ฟังหน่อย"
    some = TEXTS[6][:200] + "🙂" + chinese[:20]
    values = minilm(batch([chinese, TEXTS[0], thai, some, "🙂", f"Write in Thai: {thai}"]))
    assert [getattr(value, "kind", None) for value in values] == ["unreadable", None, "unreadable", None] + (
        ["unreadable"] * 2
    )
    assert values[0].message.startswith("67% of the text is unknown to the model's tokenizer: '小笼包")
    assert np.array_equal(np.stack([values[1], values[3]]), minilm(batch([TEXTS[0], some])))
    assert {value.kind for value in minilm(batch([thai, chinese]))} == {"unreadable"}


def test_a_text_is_judged_by_what_the_model_is_shown_of_it(minilm):
    begun = TEXTS[6][:1600]
    assert isinstance(minilm(batch([begun + "他做事总是画蛇添足。" * 900])), np.ndarray)
    assert Embed().advice("unreadable", "embed").endswith("set embed.model.name=intfloat/multilingual-e5-small")
    assert Embed().advice("empty_text", "embed") == ""


def test_vectors_without_a_direction_or_a_number_are_errors():
    vectors = np.array([[3, 4], [0, 0], [np.nan, 1], [1e5, 1]], np.float32)
    kinds = {}
    for scale in ("unit", "raw"):
        values = Embed(scale=scale)._finished(vectors.copy(), [0, 1, 2, 3], {})
        kinds[scale] = [value.kind if isinstance(value, RowError) else value.tolist() for value in values]
    assert kinds["unit"][1:] == ["zero_vector", "nonfinite", [1.0, pytest.approx(1e-5, rel=0.01)]]
    assert kinds["raw"] == [[3, 4], "zero_vector", "nonfinite", "nonfinite"]


def test_the_text_is_what_the_template_says(minilm):
    conversation = [{"role": "user", "content": "Name a color."}, {"role": "assistant", "content": "Red."}]
    table = pa.table({"messages": pa.array([conversation], sample.MESSAGES)})
    found = Embed(text="query: {instruction}", precision="float32", stored="float32").load()(table)
    assert np.array_equal(found, minilm(batch(["query: Name a color."])))
    with pytest.raises(ValueError, match=r"unknown field \{output\}"):
        Embed(text="{output}")


def test_a_huge_text_is_cut_to_what_is_read(minilm):
    long = TEXTS[1] + " One more sentence, and a wörd, 和一句话。" * 20_000
    for text in (long, " " * 100_000 + TEXTS[0], "x" * 90 + " then words. " * 30_000):
        whole = minilm(batch([text]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cutting, "CHARACTERS", 10**7)
            assert np.array_equal(minilm(batch([text])), whole)
    assert minilm(batch(["x" * 100_000 + " then words. " * 3_000]))[0].kind == "unreadable"
    assert len(cut(long, 256, lambda text: len(text) // 3)) == 2 * 256 * cutting.CHARACTERS
    assert len(cut(" " * 10**7, 256, lambda text: 0)) == 2 * 256 * 1024


def test_a_tokenizer_that_keeps_the_end_of_a_text_gets_the_end_of_a_huge_one(folders, tmp_path):
    folder = Path(shutil.copytree(folders["bert"], tmp_path / "left"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"truncation_side": "left"}))
    end = "the letter to a neighbour about his music, in three sentences"
    found = Embed(model=Checkpoint(str(folder)), max_tokens=8, stored="float32").load()(
        batch(["one river " * 999 + end, end])
    )
    np.testing.assert_array_equal(found[0], found[1])


def test_tokens_beyond_the_model_are_refused(folders):
    with pytest.raises(ValueError, match=r"161.*160 positions"):
        Embed(model=Checkpoint(str(folders["bert"])), max_tokens=161).load()


def test_the_encoder_of_t5_with_a_dense_layer_equals_sentence_transformers(folders, tmp_path):
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                      pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.pad_token_id)  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    whole = models.Transformer(str(tmp_path / "t5"), max_seq_length=160)
    dense = models.Dense(32, 24, bias=True, activation_function=torch.nn.Tanh())
    peer = SentenceTransformer(modules=[whole, models.Pooling(32), dense, models.Normalize()], device="cpu")
    peer.save(str(tmp_path / "sentence-t5"), safe_serialization=True)
    compute = Embed(model=Checkpoint(str(tmp_path / "sentence-t5")), precision="float32", stored="float32").load()
    np.testing.assert_allclose(compute(batch(TEXTS)), peer.encode(TEXTS), atol=1e-5)
    assert np.array_equal(in_batches(compute, TEXTS, 1), compute(batch(TEXTS)))


def test_auto_pooling_follows_the_checkpoint(folders, tmp_path):
    advice = shutil.copytree(folders["bert"], tmp_path / "model")
    modules = '[{"path": "", "type": "models.Transformer"}, {"path": "1_Pooling", "type": "models.%s"}]'
    (advice / "modules.json").write_text(modules % "Pooling")
    (advice / "1_Pooling").mkdir()
    read = lambda: Advice.read(advice).chosen_pooling()  # noqa: E731
    for written, pooling in {
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}': "cls",
        '{"pooling_mode": "lasttoken", "include_prompt": true}': "last",
        '{"pooling_mode": "mean"}': "mean",
    }.items():
        (advice / "1_Pooling" / "config.json").write_text(written)
        assert read() == pooling
    (advice / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ValueError, match="pooling_mode_max_tokens"):
        read()
    (advice / "modules.json").write_text(modules % "LSTM")
    with pytest.raises(ValueError, match="LSTM module"):
        read()


def test_weights_that_are_missing_are_an_error(folders, tmp_path):
    from safetensors.numpy import load_file, save_file

    broken = shutil.copytree(folders["llama"], tmp_path / "model")
    weights = load_file(broken / "model.safetensors")
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights.*layers\.1\.mlp\.up_proj"):
        Embed(model=Checkpoint(str(broken))).load()


def test_the_declaration_is_frozen_and_its_fingerprint_the_same_elsewhere(tmp_path):
    operator = Embed()
    assert hash(operator) == hash(pickle.loads(pickle.dumps(operator)))
    copy = shutil.copytree(operator.model.folder(), tmp_path / "copy")
    assert Embed(model=Checkpoint(str(copy))).fingerprint() == operator.fingerprint()
    assert Embed(pooling="cls").fingerprint() != operator.fingerprint()
    program = (
        "import sys; from operators.embedding.embed import Embed; operator = Embed(); "
        "assert not {'torch', 'transformers'} & set(sys.modules); print(operator.fingerprint())"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == operator.fingerprint()
