"""A GPU that is pretended on the CPU: what `tests/gpu` runs on where there is no CUDA device.

A tensor that is moved to "cuda" is wrapped, computes on the CPU, and says that its device is cuda:0. An operation on a
wrapped and an unwrapped tensor is refused, as CUDA refuses it, and so is the reading of a wrapped tensor as an array.
That shows whether the code keeps its tensors together and brings its answers back. It shows nothing of CUDA's numbers,
memory or speed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
GIB = 2**30
aten = torch.ops.aten
# Copies are what CUDA allows between devices; an index may lie on the CPU.
BETWEEN_DEVICES = {aten.copy_.default}
BY_INDEX = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


def product_in_float32(first, second, out_dtype, out):
    """Products of halves that are added up in float32, which no CPU has."""
    assert first.dtype == second.dtype != out_dtype == torch.float32
    return torch.mm(first.float(), second.float(), out=out)


CUDA_ONLY = {aten.mm.dtype_out: product_in_float32}


class Placed(torch.Tensor):
    """A tensor on the pretended GPU, around a tensor on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), **layout)  # pyright: ignore

    def __init__(self, held: torch.Tensor):
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def held(value):
    return value.held if isinstance(value, Placed) else value


def computed(func, args, kwargs, placed: bool = False):
    """Returns what `func` computes, wrapped where an argument is, or where `placed` says so."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Placed)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Placed) and tensor.dim()]
    if there and here and func not in BETWEEN_DEVICES:
        indexed = func in BY_INDEX and isinstance(args[0], Placed)
        if not indexed or any(value is args[2] for value in here if len(args) > 2):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {func} has cuda:0 and cpu")
    wrapped = {id(tensor.held): tensor for tensor in there}
    found = CUDA_ONLY.get(func, func)(*tree_map(held, args), **tree_map(held, kwargs))
    if func in BETWEEN_DEVICES:
        return args[0]

    def back(value):
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in wrapped:
            return wrapped[id(value)]
        return Placed(value) if there or placed else value

    return tree_map(back, found)


class Factories(TorchDispatchMode):
    """Puts a tensor that is made inside an operation on the pretended GPU beside the operation's arguments."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        return computed(func, args, kwargs, placed=not tensors)


def on_gpu(device) -> bool:
    return device is not None and not isinstance(device, int) and torch.device(device).type == "cuda"


def moved(tensor: torch.Tensor, device, dtype=None, copy: bool = False) -> torch.Tensor:
    """Returns the tensor on the device, with its gradient's history."""
    target = on_gpu(device) if device is not None else isinstance(tensor, Placed)
    if target == isinstance(tensor, Placed):
        return tensor.to(dtype, copy=copy) if dtype is not None or copy else tensor
    moving = Move.apply(tensor, target)
    return moving.to(dtype) if dtype is not None else moving


class Move(torch.autograd.Function):
    @staticmethod
    def forward(context, tensor, there):
        return Placed(tensor.clone()) if there else tensor.held.clone()

    @staticmethod
    def backward(context, gradient):
        return (held(gradient) if isinstance(gradient, Placed) else Placed(gradient)), None


class PretendedGPU(TorchFunctionMode):
    """Reads the devices that the Python API is asked for, which the CPU's build of torch would refuse."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.backward:
            with self:  # so that what hooks do is seen
                return gradients_of(args[0])
        if func in OF_EVERY:
            return OF_EVERY[func](*args, **kwargs)
        if func in OF_PLACED and isinstance(args[0], Placed):
            return OF_PLACED[func](*args)
        kwargs.pop("pin_memory", None)
        if on_gpu(kwargs.get("device")):
            del kwargs["device"]
            return tree_map(lambda each: Placed(each) if type(each) is torch.Tensor else each, func(*args, **kwargs))
        inside = any(isinstance(leaf, Placed) for leaf in tree_leaves((args, kwargs)))
        with Factories() if inside else nullcontext():
            return func(*args, **kwargs)


def gradients_of(loss: torch.Tensor) -> None:
    run = torch.autograd.graph._engine_run_backward
    run((loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True)


def to(tensor: torch.Tensor, *args, copy: bool = False, **kwargs) -> torch.Tensor:
    other = next((value for value in args if isinstance(value, torch.Tensor)), None)
    if other is not None:
        return moved(tensor, DEVICE if isinstance(other, Placed) else CPU, other.dtype)
    device, dtype, _, _ = torch._C._nn._parse_to(*args, **kwargs)  # pyright: ignore
    return moved(tensor, device, dtype, copy)


def refuse(tensor: Placed, *_) -> None:
    raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")


OF_EVERY = {
    torch.Tensor.to: to,
    torch.Tensor.cuda: lambda tensor, *_, **__: moved(tensor, DEVICE),
    torch.Tensor.cpu: lambda tensor: moved(tensor, CPU),
    torch.Tensor.pin_memory: lambda tensor: tensor,
}
OF_PLACED = {
    torch.Tensor.device.__get__: lambda tensor: DEVICE,  # pyright: ignore
    torch.Tensor.is_cuda.__get__: lambda tensor: True,  # pyright: ignore
    torch.Tensor.tolist: lambda tensor: tensor.held.tolist(),
    torch.Tensor.untyped_storage: lambda tensor: tensor.held.untyped_storage(),
    torch.Tensor.numpy: refuse,
    torch.Tensor.__array__: refuse,
}


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """One GPU of 80 GiB, of which half is free."""
    autocast = torch.autocast
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch:
        for name, answer in {
            "is_available": True, "device_count": 1, "current_device": 0, "mem_get_info": (40 * GIB, 80 * GIB),
            "memory_reserved": 0, "memory_allocated": 0, "get_per_process_memory_fraction": 1.0, "empty_cache": None,
            "is_bf16_supported": True, "synchronize": None, "is_initialized": True,
            "get_rng_state": torch.get_rng_state(), "set_rng_state": None, "manual_seed": None, "manual_seed_all": None,
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        # Asks the driver whether a graph is being captured, where torch is built for CUDA.
        patch.setattr(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None)
        patch.setattr(torch, "autocast", lambda kind, *args, **kwargs: autocast("cpu", *args, **kwargs))
        patch.setattr(torch, "inference_mode", torch.no_grad)  # wrapped tensors count no versions there
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            with PretendedGPU():
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapped)
