"""Forward passes over tokenized samples: the padded input, the layers, and what passes through a language head.

Samples are padded on the right and not masked: in a causal model no token sees a later one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from operators.supervision.supervised import IGNORED


class Row(Protocol):
    """A tokenized sample."""

    @property
    def input_ids(self) -> Sequence[int]:
        """The tokens."""
        ...

    @property
    def labels(self) -> Sequence[int]:
        """The label of each token: the token itself, or supervised.IGNORED where it is not supervised."""
        ...


def padded(rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """The token ids and the labels of the rows, (rows, longest) int64 each; the padding is token 0 with IGNORED."""
    ids = pad_sequence([torch.tensor(row.input_ids) for row in rows], batch_first=True)
    labels = pad_sequence([torch.tensor(row.labels) for row in rows], batch_first=True, padding_value=IGNORED)
    return ids.to(device), labels.to(device)


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer of a model by its name, the head included, in the order of the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def language_head(model: Any) -> nn.Module:
    """The layer that turns hidden states into logits; ValueError for a model without one."""
    found = model.get_output_embeddings()
    if found is None:
        raise ValueError(f"{type(model).__name__} has no language-model head")
    return found


@contextmanager
def hidden_at(head: nn.Module, where: Tensor) -> Iterator[None]:
    """A context in which the head computes logits only at some positions.

    where: (rows, tokens) bool. The logits are (1, where.sum(), vocabulary) instead of (rows, tokens, vocabulary).
    """
    handle = head.register_forward_pre_hook(lambda _, given: (given[0][where][None], *given[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def caught(head: nn.Module) -> Iterator[list[Tensor]]:
    """A context in which the head computes nothing; the hidden states that it is given are appended to the list."""
    states: list[Tensor] = []

    def catch(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        states.append(given[0])
        return (given[0][:, :0], *given[1:])

    handle = head.register_forward_pre_hook(catch)
    try:
        yield states
    finally:
        handle.remove()


def plain(model: Any, head: nn.Module) -> bool:
    """Whether the model's logits are the head's product of hidden states and a matrix, neither capped nor scaled."""
    products: list[Any] = []
    handle = head.register_forward_hook(lambda _, given, output: products.append(output))
    try:
        with torch.inference_mode():
            ids = torch.zeros(1, 4, dtype=torch.long, device=next(model.parameters()).device)
            logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return type(head) is nn.Linear and torch.equal(products[0], logits)
