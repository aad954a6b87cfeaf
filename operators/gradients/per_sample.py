"""Per-sample gradients: exact gradients of each sample of a batch, by one forward and one backward pass.

A sample's gradient with respect to the weight of a linear layer is a product of two tensors, summed over the sample's
tokens: the layer's inputs, and the loss's gradient with respect to the layer's outputs (its errors). `backward`
collects both with hooks and hands them to a sink, parameter by parameter, while the backward pass runs. What the sink
does not keep is freed. No weight gradient of the batch is formed, and nothing below the first hooked layer is
differentiated. The A and the B of a LoRA adapter are linear layers like any other; the adapter's scaling is already in
their inputs and errors.

A `Losses` decides which loss is differentiated. For a language model it is `language_losses`: the head computes logits
only where they predict a supervised token. Samples are padded on the right and not masked: in a causal model no token
sees a later one, and the errors of the padding are zero, so neither losses nor gradients depend on it. For a classifier
it is `class_losses.class_losses`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from operators.models.by_length import Budget
from operators.models.forward import Row, hidden_at, language_head, linear_layers, padded
from operators.supervision.supervised import IGNORED

Layers = Mapping[str, nn.Linear]
"""Linear layers by their names in the model."""


@dataclass(frozen=True)
class Factors:
    """The two factors of each sample's gradient with respect to one parameter."""

    inputs: Tensor
    """(samples, tokens, i)"""
    errors: Tensor
    """(samples, tokens, o)"""

    def gradients(self) -> Tensor:
        """(samples, o * i) float32 gradients, in the order of the parameter's values."""
        return torch.bmm(self.errors.float().transpose(1, 2), self.inputs.float()).flatten(1)

    def squared_norms(self) -> Tensor:
        """(samples,) float32 squared lengths of the gradients, computed in the cheaper of two ways.

        For few tokens no gradient is formed. Its squared length is the sum, over pairs of tokens, of the dot product of
        their inputs times that of their errors (Goodfellow 2015, arXiv 1510.01799, with tokens instead of examples).
        """
        inputs, errors = self.inputs.float(), self.errors.float()
        (_, tokens, i), o = inputs.shape, errors.shape[2]
        if tokens * (i + o) < i * o:
            pairs = torch.bmm(inputs, inputs.transpose(1, 2)) * torch.bmm(errors, errors.transpose(1, 2))
            return pairs.sum((1, 2)).clamp_min(0)
        return self.gradients().square().sum(1)


Sink = Callable[[str, Factors], None]
"""A function of a parameter's name and the factors of its gradients, called once per parameter, last layers first."""

Sinks = Callable[[list[int]], Sink]
"""A function from the positions of the rows of a pass to its sink. A pass that ran out of memory is computed again in
smaller ones, so it begins anew what it adds up for these rows."""

States = Callable[[Tensor], Tensor]
"""A function that reshapes a layer's inputs, or its outputs' gradients, to (samples, tokens, width)."""


@dataclass(frozen=True)
class Pass:
    """A forward pass over some samples that has not run yet."""

    losses: Callable[[], Tensor]
    """Runs it; returns the differentiable loss of each sample, (samples,) float32, a function of that sample alone."""
    states: Mapping[nn.Module, States]
    """The `States` of the layers whose inputs are not (samples, tokens, width)."""


Losses = Callable[[Any, Sequence[Row]], Pass]
"""The loss to differentiate: a function from a model and samples to their pass."""


def language_losses(model: Any, rows: Sequence[Row]) -> Pass:
    """The pass of a causal model, whose loss is the mean negative log-likelihood per supervised token (nats).

    ValueError for a row without a supervised token.
    """
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
    """Calls the sink with the factors of the rows' gradients; returns the loss of each row, (rows,) float32.

    model: of transformers or peft, in eval mode, with no parameter that requires a gradient. ValueError for a row that
    has no such loss, and for a layer that is not applied exactly once, or not to (samples, tokens, width).
    """
    waiting = parameters(layers)

    def deliver(name: str, factors: Factors) -> None:
        del waiting[name]
        sink(name, factors)

    forward = losses(model, rows)
    with torch.enable_grad(), tapped(layers, deliver, len(rows), forward.states):
        found = forward.losses()
        found.sum().backward()
    for name, parameter in waiting.items():  # such as a layer that this batch does not use
        o, i = parameter.reshape(len(parameter), -1).shape
        sink(name, Factors(parameter.new_zeros(len(rows), 1, i), parameter.new_zeros(len(rows), 1, o)))
    return found.detach()


@contextmanager
def tapped(layers: Layers, sink: Sink, rows: int, states: Mapping[nn.Module, States]) -> Iterator[None]:
    """A context in which a forward and a backward pass over `rows` rows call the sink for the layers' parameters.

    states: as in `Pass`.
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
    """The linear layers of a peft model's LoRA adapter by name, in the order of its parameters.

    ValueError where the adapter has other parameters too (trained embeddings, biases, DoRA's magnitudes).
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
    model: Any, rows: Sequence[Row], layers: Layers, budget: Budget, sinks: Sinks, losses: Losses = language_losses
) -> Tensor:
    """Runs `backward` on any number of rows, a few at a time; returns the losses, (rows,) float32.

    budget: on a CPU 1 token, so that each row is a pass by itself, and its numbers are bitwise the same whatever rows
    are computed with it. On a GPU rows of similar length share a pass, and the last bits may differ between batches.
    """
    found = torch.zeros(len(rows), device=next(model.parameters()).device)

    def run(group: list[int]) -> None:
        found[group] = backward(model, [rows[at] for at in group], layers, sinks(group), losses)

    budget.run([len(row.input_ids) for row in rows], run)
    return found


def norms(
    model: Any, rows: Sequence[Row], layers: Layers, budget: Budget, losses: Losses = language_losses
) -> tuple[Tensor, Tensor]:
    """The norm of each row's gradient over all parameters of the layers, and its loss; (rows,) float32 each."""
    lengths = torch.zeros(len(rows), device=next(model.parameters()).device)

    def begun(group: list[int]) -> Sink:
        lengths[group] = 0

        def take(name: str, factors: Factors) -> None:
            lengths[group] += factors.squared_norms()

        return take

    found = each(model, rows, layers, budget, begun, losses)
    return lengths.sqrt(), found


def offsets(layers: Layers) -> dict[str, int]:
    """The offset of each parameter's values in the concatenation of all parameters, by name."""
    sizes = [parameter.numel() for parameter in parameters(layers).values()]
    return dict(zip(parameters(layers), accumulate(sizes, initial=0), strict=False))


def size(layers: Layers) -> int:
    """The number of values of all parameters of the layers."""
    return sum(parameter.numel() for parameter in parameters(layers).values())
