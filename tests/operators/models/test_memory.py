"""The tokens of a pass from free memory, and the bounds on what a token takes against what autograd keeps."""

from types import SimpleNamespace

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from operators.models import memory
from operators.models.memory import MOST_TOKENS, Shape, tokens_that_fit

GIB = 2**30


def test_the_tokens_of_a_pass_follow_from_what_is_free():
    assert tokens_that_fit(0, 1000) == tokens_that_fit(-5, 1000) == 1
    assert tokens_that_fit(1_000_000, 1000) == 700
    assert tokens_that_fit(2_000_000, 1000) == 1400
    assert tokens_that_fit(10**15, 1000) == MOST_TOKENS


def test_an_8b_model_on_an_80_gib_gpu_takes_thousands_of_tokens_per_pass():
    config = LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_key_value_heads=8
    )
    shape = Shape.of(config)
    assert shape.keys == 1024
    assert shape.cache_bytes() == 131072
    free = 80 * GIB - 16 * 10**9
    assert 2048 < tokens_that_fit(free, shape.backward_bytes(2)) < tokens_that_fit(free, shape.forward_bytes(2))


def test_a_model_on_the_cpu_has_its_samples_alone():
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    assert memory.forward_budget(model).tokens == memory.backward_budget(model).tokens == 1


def test_a_model_on_a_gpu_has_the_budget_of_the_memory_that_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 * GIB)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 0.05)
    assert memory.free_bytes(torch.device("cuda", 0)) == 3 * GIB  # of a GPU that others share
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)
    assert memory.free_bytes(torch.device("cuda", 0)) == 4 * GIB
    config = LlamaConfig(vocab_size=1000, hidden_size=64, num_hidden_layers=1, num_attention_heads=2)
    weight = SimpleNamespace(numel=lambda: 1, device=torch.device("cuda", 0), itemsize=2)
    model = SimpleNamespace(config=config, parameters=lambda: [weight])
    expected = tokens_that_fit(4 * GIB, Shape.of(config).forward_bytes(2))
    assert memory.forward_budget(model).tokens == expected


def kept(model, run) -> int:
    """The bytes that autograd keeps for the backward pass, without the weights."""
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    held, sizes = [], {}

    def keep(tensor):
        held.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(sizes.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "wide heads", "gemma3", "experts", "eager", "bert"])
def test_what_autograd_keeps_of_a_layer_is_within_the_bound_and_not_far_below(kind, precision, monkeypatch):
    monkeypatch.setattr(memory, "USUAL_TOKENS", 256)  # the length of the samples below, on which tables depend
    shape = {"vocab_size": 100, "hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 8}
    made = {
        "llama": lambda layers: LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=layers)),
        "qwen3": lambda layers: Qwen3ForCausalLM(
            Qwen3Config(**shape, num_hidden_layers=layers, num_key_value_heads=8, head_dim=32)
        ),
        "wide heads": lambda layers: Qwen3ForCausalLM(
            Qwen3Config(**shape, num_hidden_layers=layers, num_key_value_heads=4, head_dim=64)
        ),
        "gemma3": lambda layers: Gemma3ForCausalLM(
            Gemma3TextConfig(**shape, num_hidden_layers=layers, num_key_value_heads=4, head_dim=32)
        ),
        "experts": lambda layers: Qwen3MoeForCausalLM(
            Qwen3MoeConfig(
                **shape,
                num_hidden_layers=layers,
                num_key_value_heads=4,
                head_dim=32,
                moe_intermediate_size=96,
                num_experts=8,
                num_experts_per_tok=4,
            )
        ),
        "eager": lambda layers: LlamaForCausalLM(
            LlamaConfig(**shape, num_hidden_layers=layers, attn_implementation="eager")
        ),
        "bert": lambda layers: BertModel(
            BertConfig(**shape, num_hidden_layers=layers, attention_probs_dropout_prob=0.0)
        ),
    }[kind]
    ids = torch.zeros(2, 256, dtype=torch.long)

    def of(layers: int) -> int:
        model = made(layers).to(torch.bfloat16 if precision == "bfloat16" else torch.float32).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast", cache_enabled=False):
            return kept(model, lambda: model(input_ids=ids))

    found = (of(3) - of(1)) / 2 / ids.numel()
    weights = 2 * 12 * 256 * 688 / ids.numel() if precision == "autocast" else 0  # the copies of a layer's weights
    bound = Shape.of(made(1).config).kept_bytes(4 if precision == "float32" else 2)
    assert bound / 3 < found < bound + weights
