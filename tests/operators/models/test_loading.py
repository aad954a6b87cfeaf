"""Models read from a folder: a weight that would be random is refused, unless the caller has no use for it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, BertConfig, BertModel, Gemma2Config, Gemma2ForCausalLM

from operators.models.loading import loaded_model


@pytest.fixture
def folder(tmp_path):
    shape = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**shape, intermediate_size=8)).save_pretrained(tmp_path)
    return tmp_path


def remove(folder, *names: str) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if name not in names}
    assert len(kept) == len(weights) - len(names)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_whole_model_is_read_for_use_in_the_dtype(folder):
    model = loaded_model(folder, AutoModel, torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert not model.training
    assert model.config.use_cache is False


def test_a_missing_weight_is_refused_unless_the_model_may_lack_it(folder):
    remove(folder, "pooler.dense.weight", "pooler.dense.bias")
    with pytest.raises(ValueError, match=r"lacks 2 weights of its model, such as pooler\.dense\.bias"):
        loaded_model(folder, AutoModel, torch.float32)
    loaded_model(folder, AutoModel, torch.float32, may_lack=lambda _, weight: weight.startswith("pooler."))
    remove(folder, "embeddings.LayerNorm.bias")
    with pytest.raises(ValueError, match=r"lacks 1 weights of its model, such as embeddings\.LayerNorm\.bias"):
        loaded_model(folder, AutoModel, torch.float32, may_lack=lambda _, weight: weight.startswith("pooler."))


def test_the_configuration_can_be_given_other_entries(folder):
    model = loaded_model(folder, AutoModel, torch.float32, config={"id2label": {0: "no", 1: "yes"}})
    assert model.config.id2label == {0: "no", 1: "yes"}


def test_quantised_weights_are_refused(folder):
    for entry in ({"quantization_config": {"quant_method": "fp8"}}, {"compression_config": {"quant_method": "fp8"}}):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | entry))
        with pytest.raises(ValueError, match=r"are quantised \(fp8\), which only vLLM reads here: give the model that"):
            loaded_model(folder, AutoModel, torch.float32)
        (folder / "config.json").write_text(json.dumps(config))


def test_attention_scores_are_capped_where_the_model_was_trained_so(tmp_path):
    shape = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "attn_logit_softcapping": 0.1}
    made = Gemma2ForCausalLM(Gemma2Config(**shape, **heads))
    for weight in made.parameters():
        torch.nn.init.normal_(weight)
    made.save_pretrained(tmp_path)
    ids = torch.arange(20)[None]
    made.eval().set_attn_implementation("sdpa")
    uncapped = made(input_ids=ids).logits
    made.set_attn_implementation("eager")
    capped = made(input_ids=ids).logits
    assert not torch.allclose(uncapped, capped, atol=0.1)
    found = loaded_model(tmp_path, AutoModelForCausalLM, torch.float32)(input_ids=ids).logits
    torch.testing.assert_close(found, capped)
