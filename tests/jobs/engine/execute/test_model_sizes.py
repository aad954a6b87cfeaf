"""The sizes of models by their configuration, against what is published and what is trained."""

from typing import Any

import pytest
from transformers import (
    BertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    Qwen3Config,
)

from jobs.engine.execute.model_sizes import Sizes
from operators.checkpoint import Checkpoint
from operators.training.finetune import Finetune, LoRA
from operators.training.model import untrained_model

QWEN = {"vocab_size": 151936, "num_key_value_heads": 8, "head_dim": 128}
GEMMA = {"vocab_size": 262144, "num_key_value_heads": 1, "num_attention_heads": 4, "head_dim": 256}
PUBLISHED: dict[
    str, Any
] = {  # layers, width, width of the feed-forward layers, further settings; the parameters that are published
    "Llama-3.1-8B": (
        LlamaConfig,
        (32, 4096, 14336),
        {"vocab_size": 128256, "num_attention_heads": 32, "num_key_value_heads": 8},
        8_030_261_248,
    ),
    "Qwen3-4B": (
        Qwen3Config,
        (36, 2560, 9728),
        {**QWEN, "num_attention_heads": 32, "tie_word_embeddings": True},
        4_022_468_096,
    ),
    "Qwen3-8B": (Qwen3Config, (36, 4096, 12288), {**QWEN, "num_attention_heads": 32}, 8_190_735_360),
    "Mistral-7B-v0.3": (
        MistralConfig,
        (32, 4096, 14336),
        {"vocab_size": 32768, "num_attention_heads": 32, "num_key_value_heads": 8},
        7_248_023_552,
    ),
    "Phi-3-mini": (
        Phi3Config,
        (32, 3072, 8192),
        {"vocab_size": 32064, "num_attention_heads": 32, "num_key_value_heads": 32},
        3_821_079_552,
    ),
    "gemma-2-9b": (
        Gemma2Config,
        (42, 3584, 14336),
        {"vocab_size": 256000, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256},
        9_241_705_984,
    ),
    "gemma-3-270m": (Gemma3TextConfig, (18, 640, 2048), GEMMA, 268_098_176),
    "gemma-3-1b": (Gemma3TextConfig, (26, 1152, 6912), GEMMA, 999_885_952),
    "Mixtral-8x7B": (
        MixtralConfig,
        (32, 4096, 14336),
        {"vocab_size": 32000, "num_attention_heads": 32, "num_key_value_heads": 8},
        46_702_792_704,
    ),
    "all-MiniLM-L6-v2": (BertConfig, (6, 384, 1536), {"vocab_size": 30522, "num_attention_heads": 12}, 22_713_216),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameters_of_published_models_are_those_that_are_published(name):
    kind, (layers, width, inner), further, published = PUBLISHED[name]
    config = kind(num_hidden_layers=layers, hidden_size=width, intermediate_size=inner, **further)
    sizes = Sizes.of(config)
    assert sizes.parameters == published
    outside = published - layers * sizes.layer
    matrices = [config.vocab_size * width] * (1 if sizes.tied or kind is BertConfig else 2)
    assert sum(matrices) <= outside < 1.05 * sum(matrices)
    assert matrices[0] <= sizes.ends < 1.05 * matrices[0]


def test_an_adapter_of_gpt_2_has_the_parameters_that_are_trained(tmp_path):
    config = GPT2Config(vocab_size=600, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    lora = LoRA(rank=4, modules=("c_attn", "c_proj"))
    model = untrained_model(Finetune(Checkpoint(str(tmp_path)), lora=lora, max_tokens=64))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert Sizes.of(config).adapter(lora) == trained
