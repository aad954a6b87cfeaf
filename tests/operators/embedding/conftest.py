"""Small encoders, and the default one."""

import shutil
from pathlib import Path

import pytest

from operators.checkpoint import MINILM, Checkpoint
from operators.embedding.embed import Embed


def tiny(folder: Path, kind: str) -> Path:
    """A random model of a few layers with MiniLM's tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(0)
    shape = {"vocab_size": 30522, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"intermediate_size": 96, "max_position_embeddings": 160}
    model = {
        "bert": lambda: BertModel(BertConfig(**shape)),
        "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**shape, pad_token_id=1)),
        "llama": lambda: LlamaModel(LlamaConfig(**shape, num_key_value_heads=2)),
    }[kind]()
    for weight in model.parameters():  # so that biases count and the texts' vectors differ
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Checkpoint(MINILM).folder() / name, folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {kind: tiny(tmp_path_factory.mktemp(kind), kind) for kind in ("bert", "xlm-roberta", "llama")}


@pytest.fixture(scope="module")
def minilm():
    return Embed(precision="float32", stored="float32").load()
