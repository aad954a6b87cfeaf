"""A causal language model, with a LoRA adapter or without one."""

from typing import Any

from transformers import AutoModelForCausalLM

from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.models.forward import linear_layers
from operators.models.loading import placed_model
from operators.models.precision import Precision

ADAPTER = "adapter_model.safetensors"


def causal_model(checkpoint: Checkpoint, adapter: Checkpoint | None, precision: Precision) -> Any:
    """The model in eval mode, on the GPU where there is one; no parameter requires a gradient.

    The adapter's own weights are float32. ModelMissing where the model or the adapter is not there. ValueError where
    the model lacks weights, and where the adapter is not one of this model; the message lists the linear layers of the
    model.
    """
    model = placed_model(checkpoint.folder(), AutoModelForCausalLM, precision).requires_grad_(False)
    return model if adapter is None else _adapted(model, checkpoint, adapter)


def _adapted(model: Any, checkpoint: Checkpoint, adapter: Checkpoint) -> Any:
    from peft import PeftModel
    from safetensors import safe_open

    folder = adapter.folder()
    if not (folder / ADAPTER).is_file():
        raise ModelMissing(f"adapter {adapter.name}: {folder} has no {ADAPTER}")
    names = sorted({name.rsplit(".", 1)[-1] for name in linear_layers(model)})
    refusal = f"the adapter in {folder} is not one of {checkpoint.name}, whose linear layers are {', '.join(names)}"
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
    except (ValueError, RuntimeError) as error:  # modules that are not there, weights of another shape
        raise ValueError(f"{refusal}: {error}") from error
    with safe_open(folder / ADAPTER, "pt") as file:
        stored = len(file.keys())
    taken = sum(".default" in name for name, _ in adapted.named_parameters())
    if taken != stored:
        raise ValueError(f"{refusal}: it has {stored} weights where the model takes {taken}")
    return adapted.requires_grad_(False).eval()
