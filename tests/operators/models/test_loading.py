"""Models read from a folder: a weight that would be random is refused, unless the caller has no use for it."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertModel

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
