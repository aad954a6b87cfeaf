"""The model that is trained, by adapters beside its linear layers or by all of its weights."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from operators.models.causal import ADAPTER
from operators.models.loading import attention, loaded_model
from operators.positions import token_limit
from operators.supervision.labels import Labels
from operators.training.finetune import Activations, Finetune, Layout, LoRA, TrainingPrecision
from operators.training.ranks import transformer_layers

DTYPES: dict[TrainingPrecision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def untrained_model(declaration: Finetune) -> Any:
    """The model before its first step, on the CPU; the seed decides a new adapter and a classifier's new head.

    ModelMissing where the base is not there. ValueError where the base lacks weights, the adapter's modules, or
    positions for `max_tokens`.
    """
    torch.manual_seed(declaration.seed)
    model = _bare(declaration, declaration.base.folder())
    if declaration.fresh_layers:
        _begin_anew(model, declaration.fresh_layers)
    if declaration.lora is None:
        return _float32(model)
    from peft import get_peft_model

    _check(model, declaration.lora)
    adapted = get_peft_model(model, _peft(declaration.lora, declaration.labels))
    adapted.peft_config["default"].base_model_name_or_path = declaration.base.name
    return _float32(adapted)


def _begin_anew(model: Any, count: int) -> None:
    """Initialises the last `count` layers anew; ValueError where the model has fewer layers."""
    own = transformer_layers(model)
    if count > len(own):
        raise ValueError(f"fresh_layers={count}, but the model has {len(own)} layers")
    new = transformer_layers(type(model)(model.config).to(model.dtype))
    for layer, begun in list(zip(own, new, strict=True))[-count:]:
        layer.load_state_dict(begun.state_dict())


def trained_model(declaration: Finetune, epoch: Path) -> Any:
    """The model of an epoch's folder, on the CPU, to train further or to use.

    The weights that were trained are float32 and require gradients. Parameters have the names of adam.safetensors.
    """
    if declaration.lora is None:
        return _float32(_bare(declaration, epoch))
    from peft import PeftModel, set_peft_model_state_dict

    model = _bare(declaration, declaration.base.folder())
    adapted = _float32(PeftModel.from_pretrained(model, str(epoch), is_trainable=True))
    # Once more, in float32: a classifier's head was read in the precision of the base.
    set_peft_model_state_dict(adapted, load_file(epoch / ADAPTER))
    return adapted


def empty_model(declaration: Finetune, epoch: Path | None) -> Any:
    """The model as `untrained_model`, or as `trained_model` of the epoch, without the values of its parameters.

    Parameters are on the meta device, for a rank that receives their values from another (ranks.py). Buffers, which are
    computed and not read, are on the CPU.
    """
    from peft import PeftConfig, get_peft_model

    folder = epoch if epoch is not None and declaration.lora is None else declaration.base.folder()
    model = _bare_and_empty(declaration, folder)
    if declaration.lora is None:
        return _float32(model)
    if epoch is None:
        return _float32(get_peft_model(model, _peft(declaration.lora, declaration.labels)))
    stored = PeftConfig.from_pretrained(str(epoch))
    stored.inference_mode = False
    return _float32(get_peft_model(model, stored))


def refuse_unfit(declaration: Finetune, layout: Layout, activations: Activations) -> None:
    """Raises ValueError, before any weight is read, where the base cannot be trained so.

    That is a base without the adapter's modules, one for shards whose layers are not found, and one whose class cannot
    compute activations again.
    """
    model = _bare_and_empty(declaration, declaration.base.folder())
    if declaration.lora is not None:
        _check(model, declaration.lora)
    if layout == "shards":
        try:
            transformer_layers(model)
        except ValueError as error:
            raise ValueError(f"{error}, which shards need: set train_layout to copies in the profile") from error
    if activations == "recomputed" and not model.supports_gradient_checkpointing:
        raise ValueError(f"{type(model).__name__} cannot compute activations again: set train_activations to kept")


def _bare_and_empty(declaration: Finetune, folder: Path) -> Any:
    """The model in a folder, without adapters and without the values of its parameters."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig

    kind, options = _kind(declaration.labels)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, **options)
    with init_empty_weights(include_buffers=False):
        model = kind.from_config(config, dtype=_dtype(declaration), **attention(config))
    model.tie_weights()  # in the context each name has a parameter of its own
    model.config.get_text_config().use_cache = False
    if declaration.labels:
        model.config.pad_token_id = _padding(model.config)
    return model


def recompute_activations(model: Any) -> None:
    """Makes a model keep only what enters each layer; the backward pass computes the rest of the layer again.

    Gradients are the same, with dropout too. A step takes a third more time, and a small part of the memory.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})


def _dtype(declaration: Finetune) -> torch.dtype:
    """The precision of all weights of the model without adapters."""
    return torch.float32 if declaration.lora is None else DTYPES[declaration.precision]


def _bare(declaration: Finetune, folder: Path) -> Any:
    """The model in a folder, without adapters; all weights have the precision that they are trained with."""
    kind, config = _kind(declaration.labels)
    may_lack = _of_classifier if declaration.labels else _of_pooler
    model = loaded_model(folder, kind, _dtype(declaration), may_lack=may_lack, config=config)
    token_limit(model.config.get_text_config().to_dict(), declaration.max_tokens, f"the model in {folder}")
    if declaration.labels:
        model.config.pad_token_id = _padding(model.config)
    return model


def _of_pooler(model: Any, weight: str) -> bool:
    return ".pooler." in weight


def _of_classifier(model: Any, weight: str) -> bool:
    """Whether a weight belongs to a classifier's head, which is new where the base is a language model."""
    head = tuple(name for name, _ in model.named_children() if name != model.base_model_prefix)
    return weight.startswith(head) or _of_pooler(model, weight)


def _kind(labels: Labels | None) -> tuple[Any, dict[str, Any]]:
    """The model class that predicts the labels, or the next token, and options for its configuration."""
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    if labels is None:
        return AutoModelForCausalLM, {}
    names = dict(enumerate((*labels.classes, *labels.slot_names)))
    kind = AutoModelForTokenClassification if labels.slots else AutoModelForSequenceClassification
    return kind, {"id2label": names, "label2id": {name: number for number, name in names.items()}}


def _padding(config: Any) -> int:
    """The token that pads a classifier's rows, by which it finds their ends: the end-of-sequence token by default."""
    known = (config.pad_token_id, *(each if isinstance(each := config.eos_token_id, list) else [each]))
    found = next((token for token in known if token is not None), None)
    if found is None:
        raise ValueError("the classifier's config.json has neither pad_token_id nor eos_token_id; give it one")
    return found


def _peft(lora: LoRA, labels: Labels | None) -> Any:
    from peft import LoraConfig

    classifier = "TOKEN_CLS" if labels and labels.slots else "SEQ_CLS"
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft only divides it by the rank
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules),
        task_type=classifier if labels else "CAUSAL_LM",
    )


def _check(model: nn.Module, lora: LoRA) -> None:
    """Raises ValueError, with the names of the linear layers, where a module of the adapter is not one of them."""
    from transformers.pytorch_utils import Conv1D

    found = {name.rsplit(".", 1)[-1] for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    missing = [name for name in lora.modules if name not in found]
    if missing:
        raise ValueError(
            f"{type(model).__name__} has no linear layer named {', '.join(missing)}; set lora.modules to some of: "
            + ", ".join(sorted(found))
        )


def _float32(model: nn.Module) -> nn.Module:
    """The model with its trained weights in float32: bfloat16 would round their small steps away."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model
