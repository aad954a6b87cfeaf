"""The processes that train together, and how they hold a model between them.

Copies: each has the whole model and takes its share of a step's passes; then they add their gradients up. Shards: each
has a share of every matrix, of its gradient and of Adam's moments (torch's `fully_shard`). A layer's matrices are
gathered where a pass comes to the layer, and dropped behind it; gradients are added up on the way back. So all ranks
have to be at the same layer at the same time, and go through equally many passes.

Losses and weights are the same but for the order of sums. What is small stays a copy among the shards too: vectors,
and all that is trained where other weights are frozen (LoRA's matrices, a classifier's head).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from operators.training.finetune import Layout, Precision


@dataclass(frozen=True)
class Ranks(ABC):
    """The group that torch.distributed was initialised with; else this process alone."""

    rank: int
    count: int

    @abstractmethod
    def hold(self, model: Any, device: torch.device, precision: Precision) -> None:
        """Puts the model, which is whole and on the CPU, where it is trained; precision: of its matrix products."""

    @abstractmethod
    def shares(self, passes: int) -> list[tuple[int, int]]:
        """The passes of a step that this rank carries out, and how often each counts: once, or not at all."""

    @abstractmethod
    def shorten(self, weights: Sequence[nn.Parameter], longest: float) -> Tensor:
        """Makes the gradients their sum over the ranks, no longer in all than `longest`; the length it had, ()."""

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the ranks."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def wait(self) -> None:
        """Returns when all ranks have come here."""
        if self.count > 1:
            dist.barrier()

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, each of them whole, on rank 0; nothing on the others, which all have to come here too.

        What was sharded is on the CPU then. What was one tensor under two names (tied embeddings) is one again.
        """
        found: dict[int, Tensor] = {}
        for key, tensor in {id(tensor): tensor for tensor in tensors.values()}.items():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.rank == 0:
                found[key] = (whole.cpu() if isinstance(tensor, DTensor) else whole).detach()
        return {name: found[id(tensor)] for name, tensor in tensors.items()} if self.rank == 0 else {}


class Copies(Ranks):
    """Each rank has the whole model."""

    def hold(self, model: Any, device: torch.device, precision: Precision) -> None:
        """To the device with all of it."""
        model.to(device)

    def shares(self, passes: int) -> list[tuple[int, int]]:
        """Every count-th pass; one rank may have one fewer than another."""
        return [(number, 1) for number in range(self.rank, passes, self.count)]

    def shorten(self, weights: Sequence[nn.Parameter], longest: float) -> Tensor:
        """As torch shortens them, once they are added up."""
        self.add(_gradients(weights))
        return torch.nn.utils.clip_grad_norm_(weights, longest)


class Shards(Ranks):
    """Each rank has a share of every matrix."""

    def hold(self, model: Any, device: torch.device, precision: Precision) -> None:
        """A layer after the other goes to the device and is cut up there; ValueError for a model without layers.

        Matrices are gathered in the precision of the products, so that no pass keeps another copy of them; sharded
        weights and sums of gradients have the dtype that the weights have.
        """
        layers = transformer_layers(model)
        frozen = any(not weight.requires_grad for weight in model.parameters())
        copies = {weight for weight in model.parameters() if weight.dim() < 2 or (frozen and weight.requires_grad)}
        for weight in copies:
            weight.data = weight.data.to(device)
        mesh = DeviceMesh.from_group(dist.group.WORLD, device.type)  # type: ignore[arg-type]  # there are several ranks
        narrow = torch.bfloat16 if precision == "bfloat16" else None
        gathering = MixedPrecisionPolicy(narrow, torch.float32, cast_forward_inputs=False)
        parts = [fully_shard(layer, mesh=mesh, mp_policy=gathering, ignored_params=copies) for layer in layers]
        parts.append(fully_shard(model, mesh=mesh, ignored_params=copies))
        for part in parts:
            part.set_gradient_divide_factor(1.0)  # sums: each row's loss has its weight already
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            part.set_reduce_scatter_unused_params(True)  # such as an expert that one rank's samples had no use for

    def shares(self, passes: int) -> list[tuple[int, int]]:
        """As many on each rank: one that has none left repeats the last, which is of the shortest rows, for nothing."""
        rounds = math.ceil(passes / self.count)
        numbers = range(self.rank, rounds * self.count, self.count)
        return [(number, 1) if number < passes else (passes - 1, 0) for number in numbers]

    def shorten(self, weights: Sequence[nn.Parameter], longest: float) -> Tensor:
        """Those of the shards are sums already."""
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
    """This process's place among those that train; ValueError for shards of one process."""
    rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if layout == "copies":
        return Copies(rank, count)
    if count == 1:
        raise ValueError("one process has nobody to share a model with: train with several, or with copies")
    return Shards(rank, count)


def transformer_layers(model: Any) -> nn.ModuleList:
    """The layers that hidden states pass through one after another; ValueError for a model without a list of them."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(model).__name__} has no list of its {count} layers")


def held_as(weight: Tensor, whole: Tensor) -> Tensor:
    """This rank's part of a tensor, on the device, as it has its part of the weight; all ranks give the same one."""
    whole = whole.to(weight.device)
    if not isinstance(weight, DTensor):
        return whole
    return distribute_tensor(whole, weight.device_mesh, weight.placements, src_data_rank=None)


def _gradients(weights: Sequence[nn.Parameter]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]
