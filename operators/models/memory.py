"""The memory of a model's passes: bytes per token from its configuration, and the tokens of a pass from what is free.

The bytes are bounds, from counting what autograd keeps of Llama, Qwen3, Gemma, GPT-OSS and BERT layers and of mixtures
of experts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from operators.models.by_length import Budget
from operators.positions import USUAL_TOKENS

SHARE = 0.7
"""The share of the free memory that a pass may take; the rest is for workspaces and fragments."""

MOST_TOKENS = 65536
"""The most tokens of a pass on a GPU: no model is faster with more."""

INNER = ("moe_intermediate_size", "intermediate_size", "d_ff", "n_inner", "ffn_dim")
"""The names of the width of a feed-forward layer, in the configurations of several models."""

FOUR_NORMS = ("gemma2", "gemma3", "gemma4", "glm4")
"""How the types of models begin that have norms after attention and feed-forward layer, too."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a transformer that its passes' memory depends on."""

    layers: int
    width: int
    inner: int
    """The width of a feed-forward layer; of a mixture of experts, of all experts that a token is sent to."""
    queries: int
    """The width of the queries of all heads."""
    keys: int
    """The width of the keys of all heads, which is that of the values too; of no heads, the width."""
    vocabulary: int
    norms: int = 2
    """The norms of a layer, which keep float32."""
    experts: int = 0
    """The experts that a token is sent to, each with a copy of it."""
    tables: int = 0
    """The heads whose attention keeps a table of tokens by tokens, as transformers' `eager` does; others keep none."""

    @classmethod
    def of(cls, config: Any) -> "Shape":
        """The shape of a model with this configuration: transformers' object, as the model itself has it."""
        eager = getattr(config, "_attn_implementation", None) == "eager"
        config = config.get_text_config()
        width, heads = config.hidden_size, getattr(config, "num_attention_heads", None) or 1
        inner = next((known for name in INNER if (known := getattr(config, name, None))), 4 * width)
        head = getattr(config, "head_dim", None) or width // heads
        experts = getattr(config, "num_experts_per_tok", None) or 0
        return cls(
            layers=config.num_hidden_layers,
            width=width,
            inner=inner * max(1, experts),
            queries=heads * (getattr(config, "qk_head_dim", None) or head),
            keys=head * (getattr(config, "num_key_value_heads", None) or heads),
            vocabulary=config.vocab_size,
            norms=4 if config.model_type.startswith(FOUR_NORMS) else 2,
            experts=experts,
            tables=heads if eager else 0,
        )

    def body_bytes(self, itemsize: int) -> int:
        """Bytes per token of a pass without gradients, up to the last hidden states; one layer is held at a time."""
        products = 4 * self.width + 2 * self.queries + 2 * self.keys + 4 * self.inner
        return itemsize * products + 12 * self.width + self._further_bytes(itemsize)

    def logits_bytes(self, itemsize: int) -> int:
        """Bytes per token of its logits: as computed, in float32, their softmax and their gradients."""
        return self.vocabulary * (itemsize + 12)

    def forward_bytes(self, itemsize: int) -> int:
        """Bytes per token of a pass of a language model without gradients."""
        return self.body_bytes(itemsize) + self.logits_bytes(itemsize)

    def kept_bytes(self, itemsize: int) -> int:
        """Bytes per token and layer that are kept for the backward pass."""
        products = 3 * self.width + 6 * (self.queries + self.keys) + 4 * self.inner
        return itemsize * products + 10 * self.norms * self.width + self._further_bytes(itemsize)

    def _further_bytes(self, itemsize: int) -> int:
        """Of a layer: the copies of a token for its experts, and the tables of samples of the usual longest length."""
        return 2 * itemsize * self.experts * self.width + (4 * itemsize + 4) * self.tables * USUAL_TOKENS

    def backward_bytes(self, itemsize: int) -> int:
        """Bytes per token of a forward and backward pass of a language model."""
        return self.layers * self.kept_bytes(itemsize) + self.logits_bytes(itemsize)

    def recomputed_bytes(self, itemsize: int) -> int:
        """As `backward_bytes`, where only what enters each layer is kept, and one layer at a time is computed again."""
        return 4 * self.layers * self.width + self.kept_bytes(itemsize) + self.logits_bytes(itemsize)

    def cache_bytes(self, itemsize: int = 2) -> int:
        """Bytes per token of the cache of keys and values, with which a model writes."""
        return 2 * self.layers * self.keys * itemsize


def tokens_that_fit(free: int, bytes_per_token: int) -> int:
    """The tokens of a pass, padding included, for `free` bytes; at least 1, at most MOST_TOKENS.

    >>> tokens_that_fit(free=40 * 2**30, bytes_per_token=10 * 2**20)
    2867
    """
    return max(1, min(MOST_TOKENS, int(free * SHARE) // bytes_per_token))


def forward_budget(model: Any) -> Budget:
    """The budget of a language model's passes without gradients.

    On a CPU it is 1 token: each sample is a pass by itself, so that its numbers are bitwise the same whatever samples
    are computed with it. On a GPU it is what the free memory has room for.
    """
    return _budget(model, Shape.forward_bytes)


def backward_budget(model: Any) -> Budget:
    """The budget of a language model's passes with gradients, as `forward_budget`."""
    return _budget(model, Shape.backward_bytes)


def body_budget(model: Any) -> Budget:
    """The budget of passes up to the last hidden states, as `forward_budget`."""
    return _budget(model, Shape.body_bytes)


def free_bytes(device: torch.device) -> int:
    """What a process can still allocate on a GPU: what no process has, and what this one has cached.

    Of a GPU that it shares with others (`set_per_process_memory_fraction`) it is at most what is left of its share.
    """
    reserved, allocated = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    free, total = torch.cuda.mem_get_info(device)
    share = int(torch.cuda.get_per_process_memory_fraction(device) * total)
    return min(free + reserved, share) - allocated


def _budget(model: Any, bytes_per_token: Callable[[Shape, int], int]) -> Budget:
    """bytes_per_token: of a shape, from the size of an activation."""
    weight = max(model.parameters(), key=lambda each: each.numel())  # an adapter's own weights have another dtype
    if weight.device.type == "cpu":
        return Budget(1)
    return Budget(tokens_that_fit(free_bytes(weight.device), bytes_per_token(Shape.of(model.config), weight.itemsize)))
