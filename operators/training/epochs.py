"""The folders of a run's epochs: which of them are whole, writing one, and going on after one.

An epoch's folder is written under another name and renamed when it is whole. So a folder named `epoch-<number>` can be
used, and training can continue after it. `files.py` lists its files.
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
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from operators.base import described
from operators.supervision.supervised import chat_template
from operators.training.files import FACTS, LOSSES, MOMENTS, OUTCOMES
from operators.training.finetune import Finetune
from operators.training.ranks import Ranks

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def whole_epochs(declaration: Finetune, samples: int, folder: Path) -> list[Path]:
    """The folders of the epochs that are whole, in order; ValueError where they are those of another run."""
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


def with_moments(found: Sequence[Path]) -> list[Path]:
    """The epochs up to the last one that keeps Adam's moments, after which a run can go on."""
    last = max((at for at, path in enumerate(found, start=1) if (path / MOMENTS).is_file()), default=0)
    return list(found[:last])


def begin(folder: Path, steps: int) -> None:
    """Prepares a run's folder to go on after `steps` steps: removes half epochs, and the lines of later steps."""
    folder.mkdir(parents=True, exist_ok=True)
    for half in folder.glob(".epoch-*"):
        shutil.rmtree(half)
    losses = folder / LOSSES
    kept = losses.read_text().splitlines(keepends=True)[:steps] if losses.exists() else []
    (folder / f".{LOSSES}").write_text("".join(kept))
    os.replace(folder / f".{LOSSES}", losses)


@dataclass(frozen=True)
class State:
    """The state of a training run; its tensors are whole and on the CPU of rank 0, and empty on the other ranks."""

    weights: dict[str, Tensor] | None
    """The whole model's, by name; None for an adapter, of which every rank has a copy."""
    moments: dict[str, Tensor]
    """Adam's moments, float32, by exp_avg.<parameter> and exp_avg_sq.<parameter>."""
    adam_steps: int

    @classmethod
    def of(cls, declaration: Finetune, model: Any, adam: torch.optim.Optimizer) -> "State":
        """The state of a model and its optimiser, gathered from all ranks: each of them has to call this."""
        weights: Any = None
        if declaration.lora is None:
            weights = get_model_state_dict(model, options=WHOLE)
            for tied in model.all_tied_weights_keys:  # gathered from shards it would be a second copy
                weights.pop(tied, None)
        by_name: Any = get_optimizer_state_dict(model, adam, options=WHOLE).get("state", {})
        moments = {
            f"{moment}.{name}": state[moment].contiguous()
            for name, state in by_name.items()
            for moment in ("exp_avg", "exp_avg_sq")
        }
        return cls(weights, moments, int(next(iter(adam.state.values()))["step"]))


def resume_moments(epoch: Path, model: nn.Module, adam: torch.optim.Optimizer, together: Ranks) -> None:
    """Gives Adam the moments and the number of steps of an epoch's end.

    ValueError where the epoch does not have them any more, KeyError where a parameter has none there.
    """
    if not (epoch / MOMENTS).is_file():
        raise ValueError(
            f"no run can go on after {epoch}, which has no {MOMENTS}: a run that trains all weights keeps it for the "
            "last epoch at most"
        )
    state: Any = _stored_state(epoch, model, adam) if together.reads else {}
    whole = StateDictOptions(full_state_dict=True, broadcast_from_rank0=together.sent)
    set_optimizer_state_dict(model, adam, state, options=whole)


def _stored_state(epoch: Path, model: nn.Module, adam: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state at the epoch's end, whole and on the CPU."""
    stored = load_file(epoch / MOMENTS)
    steps = json.loads((epoch / FACTS).read_text())["adam_steps"]
    groups: Any = get_optimizer_state_dict(model, adam)["param_groups"]
    state = {
        name: {
            "step": torch.tensor(float(steps)),
            "exp_avg": stored[f"exp_avg.{name}"],
            "exp_avg_sq": stored[f"exp_avg_sq.{name}"],
        }
        for group in groups
        for name in group["params"]
    }
    return {"state": state, "param_groups": groups}


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
    """Writes an epoch's folder and returns it; OSError (a full disk) leaves nothing of it.

    steps: the epoch's lines of losses.jsonl. outcomes: for a classifier, what `files.epoch_outcomes` reads.
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
        if done.exists():  # of a run whose earlier epochs were removed
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
        (folder / "README.md").unlink()  # an empty form
    tokenizer = AutoTokenizer.from_pretrained(declaration.base.folder(), local_files_only=True)
    if declaration.labels is None:  # a server that reads the folder then uses the template of the training
        tokenizer.chat_template = chat_template(tokenizer, declaration.template) or tokenizer.chat_template
    tokenizer.save_pretrained(folder)


def share_above(moments: Mapping[str, Tensor], epsilon: float) -> float:
    """The share of all coordinates whose second moment is above epsilon; below, Adam hardly rescales the gradient."""
    seconds = [moment for name, moment in moments.items() if name.startswith("exp_avg_sq.")]
    return sum(int((each > epsilon).sum()) for each in seconds) / sum(each.numel() for each in seconds)
