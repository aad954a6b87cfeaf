"""The processes that train together, and the two ways in which they hold a model.

Copies: each process has the whole model and takes its share of a step's passes. Then they add their gradients up.

Shards: each process has a share of every matrix, of its gradient and of Adam's moments (torch's `fully_shard`). The
matrices of a layer, of the embeddings and of the head are gathered when a pass reaches them and freed after it; one
that is used in several places, such as embeddings that are the head too, is gathered during the whole pass. Gradients
are added up in the backward pass. So all ranks have to be at the same layer at the same time, and to go through the
same number of passes.

Copies read the model's files on each rank. Of shards rank 0 alone reads them and sends the values, one layer after the
other, to the other ranks, so that the model is once in the memory of a machine with eight GPUs, and not eight times.

Losses and weights are the same for both, except for the order of sums. Small tensors are copied among shards too:
vectors, and everything that is trained where other weights are frozen (LoRA's matrices, a classifier's head).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from operators.training.finetune import Layout, TrainingPrecision

WHOLE = MixedPrecisionPolicy()
"""Gathered in the dtype of the weights."""


@dataclass(frozen=True)
class Ranks(ABC):
    """The group that torch.distributed was initialised with, or this process alone."""

    rank: int
    count: int

    sent: ClassVar[bool]
    """Whether rank 0 alone reads weights and moments, and sends them to the other ranks."""

    @property
    def reads(self) -> bool:
        """Whether this rank reads weights and moments; one that does not calls `hold` with an empty model."""
        return self.rank == 0 or not self.sent

    @abstractmethod
    def hold(self, model: Any, device: torch.device, precision: TrainingPrecision) -> None:
        """Moves a model from the CPU to where it is trained; precision: of its matrix products."""

    @abstractmethod
    def shares(self, passes: int) -> list[tuple[int, int]]:
        """The numbers of the passes that this rank carries out in a step, each with its weight: 1, or 0."""

    @abstractmethod
    def shorten(self, weights: Sequence[nn.Parameter], longest: float) -> Tensor:
        """Adds the gradients up over the ranks and clips their norm to `longest`; returns the norm before that, ()."""

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the ranks."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def exchanged(self, own: Any) -> list[Any]:
        """What each rank gave, in the order of the ranks: objects that can be pickled, sent one after the other."""
        found = []
        for rank in range(self.count):
            box = [own if rank == self.rank else None]
            if self.count > 1:
                dist.broadcast_object_list(box, src=rank)
            found.append(box[0])
        return found

    def wait(self) -> None:
        """Returns when all ranks have called this."""
        if self.count > 1:
            dist.barrier()


class Copies(Ranks):
    """Each rank has the whole model."""

    sent = False

    def hold(self, model: Any, device: torch.device, precision: TrainingPrecision) -> None:
        """Moves all of it to the device."""
        model.to(device)

    def shares(self, passes: int) -> list[tuple[int, int]]:
        """Every count-th pass; one rank may have one fewer than another."""
        return [(number, 1) for number in range(self.rank, passes, self.count)]

    def shorten(self, weights: Sequence[nn.Parameter], longest: float) -> Tensor:
        """Clips with torch's own function after adding the gradients up."""
        self.add(_gradients(weights))
        return torch.nn.utils.clip_grad_norm_(weights, longest)


class Shards(Ranks):
    """Each rank has a share of every matrix."""

    sent = True

    def hold(self, model: Any, device: torch.device, precision: TrainingPrecision) -> None:
        """Fills one layer after the other on the device and shards it there; ValueError for a model without layers.

        Matrices are gathered in the precision of the products, so that no pass keeps another copy of them. Sharded
        weights and sums of gradients keep the dtype of the weights.
        """
        layers = transformer_layers(model)
        self._agree_on_dtypes(model)
        frozen = any(not weight.requires_grad for weight in model.parameters())
        copies = {weight for weight in model.parameters() if weight.dim() < 2 or (frozen and weight.requires_grad)}
        _receive([weight for weight in model.parameters() if weight in copies], device)
        _receive(list(model.buffers()), device)
        mesh = DeviceMesh.from_group(dist.group.WORLD, device.type)  # type: ignore[arg-type]  # there are several ranks
        narrow = torch.bfloat16 if precision == "bfloat16" else None
        gathering = MixedPrecisionPolicy(narrow, torch.float32, cast_forward_inputs=False)
        embedding, head = ends(model)
        alone = [*((layer, gathering) for layer in layers), (embedding, WHOLE), (head, gathering)]
        parts = []
        for part, policy in [*((part, policy) for part, policy in alone if part is not None), (model, WHOLE)]:
            rest = [each for each in part.parameters() if each not in copies and not isinstance(each, DTensor)]
            _receive(rest, device)
            parts.append(fully_shard(part, mesh=mesh, mp_policy=policy, ignored_params=copies))
            if part is embedding:  # a gradient of embeddings does not depend on them
                parts[-1].set_unshard_in_backward(False)
        for part in parts:
            part.set_gradient_divide_factor(1.0)  # a sum: each row's loss is weighted already
            part.set_force_sum_reduction_for_comms(True)  # gloo has no other
            part.set_reduce_scatter_unused_params(True)  # such as an expert that none of a rank's samples used

    def _agree_on_dtypes(self, model: Any) -> None:
        """Gives an empty model the dtypes of rank 0's, as a class may read some of its weights in float32 always."""
        tensors = [*model.parameters(), *model.buffers()]
        for tensor, dtype in zip(tensors, self.exchanged([each.dtype for each in tensors])[0], strict=True):
            tensor.data = tensor.data.to(dtype)

    def shares(self, passes: int) -> list[tuple[int, int]]:
        """The same number on each rank: one with none left repeats the last and cheapest pass, with weight 0."""
        rounds = math.ceil(passes / self.count)
        numbers = range(self.rank, rounds * self.count, self.count)
        return [(number, 1) if number < passes else (passes - 1, 0) for number in numbers]

    def shorten(self, weights: Sequence[nn.Parameter], longest: float) -> Tensor:
        """Adds up what is copied only: the shards' gradients are sums already."""
        sharded = [weight for weight in weights if isinstance(weight, DTensor)]
        copied = [weight for weight in weights if not isinstance(weight, DTensor)]
        self.add(_gradients(copied))
        kinds = [kind for kind in (sharded, copied) if kind]
        lengths = [torch.nn.utils.get_total_norm(_gradients(kind)) for kind in kinds]
        whole = [length.full_tensor() if isinstance(length, DTensor) else length for length in lengths]
        total = torch.stack(whole).norm()
        for kind in kinds:
            torch.nn.utils.clip_grads_with_norm_(kind, longest, total)
        return total


def here(layout: Layout = "copies") -> Ranks:
    """The ranks as seen from this process; ValueError for shards with one process."""
    rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if layout == "copies":
        return Copies(rank, count)
    if count == 1:
        raise ValueError("one process has nobody to share a model with: train with several, or with copies")
    return Shards(rank, count)


def transformer_layers(model: Any) -> nn.ModuleList:
    """The list of a model's transformer layers, in order; ValueError for a model without such a list."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(model).__name__} has no list of its {count} layers")


def ends(model: Any) -> tuple[nn.Module | None, nn.Module | None]:
    """The embeddings and the language head of a model, which shards gather each by itself; None for what it lacks.

    Where they are one matrix, both are None: it is used at both ends of a pass, and stays gathered between them.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and head.weight is embedding.weight
    return (None, None) if tied else (embedding, head)


def _receive(tensors: Sequence[Tensor], device: torch.device) -> None:
    """Moves a model's tensors to the device, with the values that they have on rank 0."""
    for tensor in tensors:
        if tensor.is_meta:
            empty = torch.empty_like(tensor, device=device)
            torch.utils.swap_tensors(tensor, nn.Parameter(empty, requires_grad=tensor.requires_grad))
        else:
            tensor.data = tensor.data.to(device)
        dist.broadcast(tensor.detach(), src=0)


def _gradients(weights: Sequence[nn.Parameter]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]
