"""The model that is trained, with adapters beside its linear layers or by all of its weights, and its epochs' folders.

`loop.py` says what lies in the folder of a run. An epoch's is written under another name and renamed when
it is whole, so that what has a name `epoch-<number>` can be used and gone on from.
"""

import importlib.metadata
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from operators.base import described
from operators.positions import token_limit
from operators.supervision.labels import Labels
from operators.supervision.supervised import chat_template
from operators.training.finetune import FACTS, OUTCOMES, Finetune, LoRA, Precision
from operators.training.ranks import Ranks, held_as, transformer_layers

LOSSES = "losses.jsonl"
MOMENTS = "adam.safetensors"

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def untrained(declaration: Finetune) -> Any:
    """The model before its first step, on the CPU; a new adapter, or a new classifier's head, follows from the seed.

    ModelMissing where the base is not there. ValueError where it lacks weights, the adapter's modules, or positions
    for `max_tokens`.
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
    """Gives the last layers the weights that such a model begins with; ValueError where it has not so many."""
    own = transformer_layers(model)
    if count > len(own):
        raise ValueError(f"fresh_layers={count}, but the model has {len(own)} layers")
    new = transformer_layers(type(model)(model.config).to(model.dtype))
    for layer, begun in list(zip(own, new, strict=True))[-count:]:
        layer.load_state_dict(begun.state_dict())


def trained(declaration: Finetune, epoch: Path) -> Any:
    """The model as `operators.training.loop` left it in an epoch's folder, on the CPU, to be trained on or used.

    What was trained is float32 and requires gradients; parameters have the names they have in adam.safetensors.
    """
    if declaration.lora is None:
        return _float32(_bare(declaration, epoch))
    from peft import PeftModel

    model = _bare(declaration, declaration.base.folder())
    return _float32(PeftModel.from_pretrained(model, str(epoch), is_trainable=True))


def _bare(declaration: Finetune, folder: Path) -> Any:
    """The model in a folder, without adapters; all weights in the precision they will have."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    kind, options = _kind(declaration.labels)
    model, report = kind.from_pretrained(
        folder,
        dtype=torch.float32 if declaration.lora is None else DTYPES[declaration.precision],
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **options,
    )
    named = () if declaration.labels is None else model.named_children()
    new = tuple(name for name, _ in named if name != model.base_model_prefix)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(new) and ".pooler." not in key)
    if missing:
        raise ValueError(f"the checkpoint in {folder} lacks {len(missing)} weights of its model, such as {missing[0]}")
    token_limit(model.config.get_text_config().to_dict(), declaration.max_tokens, f"the model in {folder}")
    model.config.use_cache = False
    if declaration.labels:
        model.config.pad_token_id = _padding(model.config)
    return model


def _kind(labels: Labels | None) -> tuple[Any, dict[str, Any]]:
    """The class of model that tells the labels, or writes texts, and what its configuration has to know."""
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
    """The token that fills a classifier's rows up, which it looks for: the end-of-sequence token where it has none."""
    known = (config.pad_token_id, *(each if isinstance(each := config.eos_token_id, list) else [each]))
    found = next((token for token in known if token is not None), None)
    if found is None:
        raise ValueError("the classifier's config.json has neither pad_token_id nor eos_token_id; give it one")
    return found


def _peft(lora: LoRA, labels: Labels | None) -> Any:
    from peft import LoraConfig

    told = "TOKEN_CLS" if labels and labels.slots else "SEQ_CLS"
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft only divides it by the rank
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules),
        task_type=told if labels else "CAUSAL_LM",
    )


def _check(model: nn.Module, lora: LoRA) -> None:
    """ValueError where a module of the adapter is no linear layer of the model; it lists those there are."""
    from transformers.pytorch_utils import Conv1D

    found = {name.rsplit(".", 1)[-1] for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    missing = [name for name in lora.modules if name not in found]
    if missing:
        raise ValueError(
            f"{type(model).__name__} has no linear layer named {', '.join(missing)}; set lora.modules to some of: "
            + ", ".join(sorted(found))
        )


def _float32(model: nn.Module) -> nn.Module:
    """The model with its trained weights in float32, whose small steps bfloat16 would round away."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


def whole_epochs(declaration: Finetune, samples: int, folder: Path) -> list[Path]:
    """The folders of the epochs that are done, in order; ValueError where they are those of another run."""
    found: list[Path] = []
    for epoch in range(1, declaration.epochs + 1):
        path = folder / f"epoch-{epoch}"
        if not (path / FACTS).is_file():
            break
        facts = json.loads((path / FACTS).read_text())
        if (facts["fingerprint"], facts["samples"]) != (declaration.fingerprint(), samples):
            raise ValueError(f"{path} was trained by another declaration, or on other samples; give another folder")
        found.append(path)
    return found


def begin(folder: Path, steps: int) -> None:
    """Makes the run's folder fit to go on after so many steps: no half epoch, no line of a step to come."""
    folder.mkdir(parents=True, exist_ok=True)
    for half in folder.glob(".epoch-*"):
        shutil.rmtree(half)
    losses = folder / LOSSES
    kept = losses.read_text().splitlines(keepends=True)[:steps] if losses.exists() else []
    (folder / f".{LOSSES}").write_text("".join(kept))
    os.replace(folder / f".{LOSSES}", losses)


@dataclass(frozen=True)
class State:
    """What training has come to; its tensors are whole on rank 0, and not there on the others."""

    weights: dict[str, Tensor] | None
    """Of the whole model, by name; None of an adapter, of which every rank has a copy."""
    moments: dict[str, Tensor]
    """Adam's, on the CPU, float32, as exp_avg.<parameter> and exp_avg_sq.<parameter>."""
    adam_steps: int

    @classmethod
    def of(cls, declaration: Finetune, model: nn.Module, adam: torch.optim.Optimizer, ranks: Ranks) -> "State":
        """All ranks have to come here."""
        weights = ranks.gathered(model.state_dict(keep_vars=True)) if declaration.lora is None else None
        moments = ranks.gathered(
            {
                f"{moment}.{name}": adam.state[weight][moment]
                for name, weight in model.named_parameters()
                if weight in adam.state
                for moment in ("exp_avg", "exp_avg_sq")
            }
        )
        plain = {name: moment.float().cpu().contiguous() for name, moment in moments.items()}
        return cls(weights, plain, int(next(iter(adam.state.values()))["step"]))


def write_epoch(
    folder: Path,
    epoch: int,
    declaration: Finetune,
    model: Any,
    state: State,
    steps: Sequence[Mapping[str, Any]],
    samples: int,
    outcomes: Mapping[str, Tensor],
) -> Path:
    """The epoch's folder, whole; OSError (a full disk) leaves nothing of it.

    steps: its lines of losses.jsonl. outcomes: of a classifier, as `finetune.epoch_outcomes` reads them.
    """
    half, done = folder / f".epoch-{epoch}", folder / f"epoch-{epoch}"
    rates = [step["learning_rate"] for step in steps]
    facts = {
        "epoch": epoch,
        "step": steps[-1]["step"],
        "adam_steps": state.adam_steps,
        "samples": samples,
        "batch": declaration.step_samples(samples),
        "tokens": sum(step["tokens"] for step in steps),
        "loss": sum(step["loss"] for step in steps) / len(steps),
        "learning_rate": sum(rates) / len(rates),
        "learning_rates": rates,
        "second_moments_above_epsilon": share_above(state.moments, declaration.epsilon),
        "seed": declaration.seed,
        "declaration": described(declaration),
        "fingerprint": declaration.fingerprint(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft")},
    }
    try:
        half.mkdir()
        _write_model(half, declaration, model, state.weights)
        save_file(state.moments, half / MOMENTS)
        if outcomes:
            save_file(dict(outcomes), half / OUTCOMES)
        (half / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        if done.exists():  # of a run whose earlier epochs were taken away
            shutil.rmtree(done)
        os.rename(half, done)
    except SafetensorError as error:
        raise OSError(f"{done} cannot be written: {error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return done


def _write_model(folder: Path, declaration: Finetune, model: Any, weights: dict[str, Tensor] | None) -> None:
    from transformers import AutoTokenizer

    if declaration.lora is None:
        model.save_pretrained(folder, state_dict=weights)
    else:
        model.save_pretrained(folder, save_embedding_layers=False)  # else peft asks the hub about the base
        (folder / "README.md").unlink()  # a form that nobody fills in
    tokenizer = AutoTokenizer.from_pretrained(declaration.base.folder(), local_files_only=True)
    if declaration.labels is None:  # whoever serves the model asks it as it was trained
        tokenizer.chat_template = chat_template(tokenizer, declaration.template) or tokenizer.chat_template
    tokenizer.save_pretrained(folder)


def share_above(moments: Mapping[str, Tensor], epsilon: float) -> float:
    """The share of all coordinates whose second moment is above epsilon; below, Adam hardly rescales the gradient."""
    seconds = [moment for name, moment in moments.items() if name.startswith("exp_avg_sq.")]
    return sum(int((each > epsilon).sum()) for each in seconds) / sum(each.numel() for each in seconds)


def resume_moments(epoch: Path, model: nn.Module, adam: torch.optim.Optimizer) -> None:
    """Gives Adam the moments and the number of steps that it had at the end of the epoch; KeyError where one lacks."""
    stored = load_file(epoch / MOMENTS)
    steps = json.loads((epoch / FACTS).read_text())["adam_steps"]
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            adam.state[weight] = {
                "step": torch.tensor(float(steps)),
                "exp_avg": held_as(weight, stored[f"exp_avg.{name}"]),
                "exp_avg_sq": held_as(weight, stored[f"exp_avg_sq.{name}"]),
            }
