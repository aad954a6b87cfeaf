"""The gradients of every sample of a batch, one by one and exact, by one forward and one backward pass.

A sample's gradient with respect to the weight of a linear layer is a product of two things that the passes have at
hand: the layer's inputs, and the loss's gradient with respect to its outputs (its errors), summed over the sample's
tokens. `backward` taps both as they pass by and hands them to a sink, parameter by parameter, while the backward pass
runs; what the sink does not keep is freed. No weight gradient is formed, and nothing below the first tapped layer is
differentiated. The parts of a LoRA adapter are linear layers like any other (A and B are two of them), with the
adapter's scaling already in what flows through them.

Which loss it is, a `Losses` says. A language model's is `language_losses`: its head sees only the hidden states that
predict a supervised token, and samples are padded on the right and not masked, as in a causal model no token sees a
later one and the errors of the padding are zero, so that neither losses nor gradients know of it. A classifier's is
`class_losses.class_losses`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from operators.models.by_length import batches
from operators.models.forward import Row, hidden_at, language_head, linear_layers, padded
from operators.supervision.supervised import IGNORED

PASS_TOKENS = 4096
"""Tokens of a forward and backward pass on a GPU, padding included; a longer sample is a pass by itself."""

Layers = Mapping[str, nn.Linear]
"""Linear layers by the names they have in their model."""


@dataclass(frozen=True)
class Factors:
    """What the samples' gradients with respect to one parameter are products of."""

    inputs: Tensor
    """(samples, tokens, i)"""
    errors: Tensor
    """(samples, tokens, o)"""

    def gradients(self) -> Tensor:
        """(samples, o * i) float32, in the order of the parameter's values."""
        return torch.bmm(self.errors.float().transpose(1, 2), self.inputs.float()).flatten(1)

    def squared_norms(self) -> Tensor:
        """(samples,) float32 squared lengths of the gradients, by the cheaper of two ways.

        Where tokens are few no gradient is formed: its squared length is the sum, over pairs of tokens, of the inputs'
        dot product times the errors' (arXiv 1510.01799, with tokens for its examples).
        """
        inputs, errors = self.inputs.float(), self.errors.float()
        (_, tokens, i), o = inputs.shape, errors.shape[2]
        if tokens * (i + o) < i * o:
            pairs = torch.bmm(inputs, inputs.transpose(1, 2)) * torch.bmm(errors, errors.transpose(1, 2))
            return pairs.sum((1, 2)).clamp_min(0)
        return self.gradients().square().sum(1)


Sink = Callable[[str, Factors], None]
"""Takes a parameter's name and the factors of its gradients; called once a parameter, the last layers first."""

States = Callable[[Tensor], Tensor]
"""Makes what a layer is given, or gives, (samples, tokens, width)."""


@dataclass(frozen=True)
class Pass:
    """A forward pass of some samples that is still to be made."""

    losses: Callable[[], Tensor]
    """Makes it; (samples,) float32 that can be gone back through, each a function of its own sample alone."""
    states: Mapping[nn.Module, States]
    """How states come to layers that are not given (samples, tokens, width)."""


Losses = Callable[[Any, Sequence[Row]], Pass]
"""What is differentiated: a function from a model and samples to their pass."""


def language_losses(model: Any, rows: Sequence[Row]) -> Pass:
    """The negative log-likelihood a supervised token of a causal model; ValueError for a row with none."""
    ids, labels = padded(rows, next(model.parameters()).device)
    supervised = F.pad(labels[:, 1:] != IGNORED, (0, 1))
    counts = supervised.sum(1)
    if not counts.all():
        raise ValueError("a sample has no token to supervise after its first")
    head = language_head(model)

    def losses() -> Tensor:
        with hidden_at(head, supervised):
            logits = model(input_ids=ids, use_cache=False).logits[0]
        found = F.cross_entropy(logits.float(), labels.roll(-1, 1)[supervised], reduction="none")
        return torch.zeros_like(counts, dtype=torch.float32).index_add(0, supervised.nonzero()[:, 0], found) / counts

    def by_sample(states: Tensor) -> Tensor:
        return pad_sequence(list(states[0].split(counts.tolist())), batch_first=True)

    return Pass(losses, dict.fromkeys(head.modules(), by_sample))


def backward(model: Any, rows: Sequence[Row], layers: Layers, sink: Sink, losses: Losses = language_losses) -> Tensor:
    """The loss of each row, (rows,) float32; the sink gets the factors of its gradient.

    The model is one of transformers or peft, in eval mode, whose parameters require no gradient. ValueError for a row
    that has no such loss, and for a layer not applied once to (samples, tokens, width).
    """
    waiting = parameters(layers)

    def deliver(name: str, factors: Factors) -> None:
        del waiting[name]
        sink(name, factors)

    forward = losses(model, rows)
    with torch.enable_grad(), tapped(layers, deliver, len(rows), forward.states):
        found = forward.losses()
        found.sum().backward()
    for name, parameter in waiting.items():  # such as a layer that this batch has no use for
        o, i = parameter.reshape(len(parameter), -1).shape
        sink(name, Factors(parameter.new_zeros(len(rows), 1, i), parameter.new_zeros(len(rows), 1, o)))
    return found.detach()


@contextmanager
def tapped(layers: Layers, sink: Sink, rows: int, states: Mapping[nn.Module, States]) -> Iterator[None]:
    """While it lasts, a forward and a backward pass of so many rows call the sink for the layers' parameters.

    states: as `Pass` has it.
    """
    inputs: dict[str, Tensor] = {}
    called: set[str] = set()

    def shaped(values: Tensor, module: nn.Module) -> Tensor:
        return states[module](values) if module in states else values

    def keep(name: str, module: nn.Module, given: Tensor, output: Tensor) -> None:
        if name in called:
            raise ValueError(f"{name} is applied more than once in a forward pass")
        inputs[name] = shaped(given.detach(), module)
        if inputs[name].dim() != 3 or len(inputs[name]) != rows:
            raise ValueError(f"{name} is not applied to (samples, tokens, width) but to {tuple(given.shape)}")
        called.add(name)

        def deliver(errors: Tensor) -> None:
            factors = Factors(inputs.pop(name), shaped(errors, module))
            sink(f"{name}.weight", factors)
            if getattr(module, "bias", None) is not None:
                ones = factors.inputs.new_ones(*factors.inputs.shape[:2], 1)
                sink(f"{name}.bias", Factors(ones, factors.errors))

        if not output.requires_grad:
            output.requires_grad_()
        output.register_hook(deliver)

    def hook(name: str) -> Callable[..., None]:
        return lambda module, given, output: keep(name, module, given[0], output)

    handles = [module.register_forward_hook(hook(name)) for name, module in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def parameters(layers: Layers) -> dict[str, nn.Parameter]:
    """The layers' weights and biases, by name."""
    return {f"{layer}.{name}": value for layer, module in layers.items() for name, value in module.named_parameters()}


def adapter_layers(model: Any) -> dict[str, nn.Linear]:
    """The linear layers that make the LoRA adapter of a peft model, in the order of its parameters.

    ValueError where the adapter has parameters besides (trained embeddings, biases, DoRA's magnitudes).
    """
    from peft import get_peft_model_state_dict

    layers = {name: layer for name, layer in linear_layers(model).items() if ".lora_A." in name or ".lora_B." in name}
    trained = get_peft_model_state_dict(model, save_embedding_layers=False)
    further = len(trained) - len(parameters(layers))
    if further or not layers:
        known = {name.replace(".default.", ".") for name in parameters(layers)}
        other = sorted(name for name in trained if name not in known)
        raise ValueError(f"the adapter has {further} parameters that are no LoRA A or B of a linear layer: {other[:3]}")
    return layers


def each(
    model: Any,
    rows: Sequence[Row],
    layers: Layers,
    take: Callable[[list[int], str, Factors], None],
    losses: Losses = language_losses,
) -> Tensor:
    """`backward` of any number of rows, some at a time; `take` also learns which rows its factors are of.

    On a CPU a row is a pass by itself, so that its numbers are bitwise the same whatever rows are with it. On a GPU
    rows of like length go together, and the last bits may differ between batches.
    """
    device = next(model.parameters()).device
    found = torch.zeros(len(rows), device=device)
    budget = 1 if device.type == "cpu" else PASS_TOKENS
    for group in batches([len(row.input_ids) for row in rows], budget):
        found[group] = backward(model, [rows[at] for at in group], layers, partial(take, group), losses)
    return found


def norms(model: Any, rows: Sequence[Row], layers: Layers, losses: Losses = language_losses) -> tuple[Tensor, Tensor]:
    """The lengths of the rows' gradients over all parameters of the layers, and their losses; (rows,) float32 each."""
    lengths = torch.zeros(len(rows), device=next(model.parameters()).device)

    def take(group: list[int], name: str, factors: Factors) -> None:
        lengths[group] += factors.squared_norms()

    found = each(model, rows, layers, take, losses)
    return lengths.sqrt(), found


def offsets(layers: Layers) -> dict[str, int]:
    """Where each parameter's values begin among those of all."""
    sizes = [parameter.numel() for parameter in parameters(layers).values()]
    return dict(zip(parameters(layers), accumulate(sizes, initial=0), strict=False))


def size(layers: Layers) -> int:
    """How many values their parameters have in all."""
    return sum(parameter.numel() for parameter in parameters(layers).values())
