"""The training loop: carries a `Finetune` out on tokenized samples and writes one folder per epoch (files.py).

It runs in one process, or as every rank of an initialised torch.distributed group whose ranks share a file system. A
step's samples are split into passes of samples of similar length. Which passes there are, and the dropout of each,
depends only on the declaration, the step and `tokens`. The ranks divide the passes among themselves and add their
gradients up, so losses and weights are those of one process, except for the order of sums. A rank holds the whole
model or a share of it (ranks.py). The folders are the same for both, and a run that began one way can go on the other.

An epoch's folder appears when it is whole. A run that was stopped goes on after the last whole epoch and reaches the
weights that it would have reached (bitwise, on a CPU with the same number of threads).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from operators.models.by_length import batches
from operators.supervision.supervised import Supervised
from operators.training import epochs, ranks
from operators.training.files import LOSSES, MOMENTS
from operators.training.finetune import Activations, Finetune, Layout
from operators.training.losses import precise, summed_losses, supervised_counts
from operators.training.model import empty_model, recompute_activations, trained_model, untrained_model
from operators.training.ranks import Ranks

Moments = Literal["every", "latest"]
"""The epochs that keep Adam's moments, which take twice the space of the trained weights. latest: a run can go on after
the last epoch that it has written."""
TOKENS = 4096
"""Tokens per pass, padding included; a longer sample is a pass of its own."""


class NonFinite(ValueError):
    """The loss or the gradient of a step is NaN or infinite; `ids`: the samples to look at."""

    def __init__(self, step: int, ids: Sequence[int]):
        self.step = step
        self.ids = list(ids)
        super().__init__(f"step {step}: the loss or its gradient is not finite for samples {self.ids}")


def train(
    declaration: Finetune,
    samples: Sequence[Supervised],
    folder: Path,
    *,
    tokens: int = TOKENS,
    device: torch.device | str | None = None,
    layout: Layout = "copies",
    activations: Activations = "kept",
    moments: Moments = "every",
    written: Callable[[Path], None] = lambda epoch: None,
) -> list[Path]:
    """Trains the epochs that the folder does not have yet; returns the folders of all epochs, in order.

    samples: `train` reads their number, and one step's samples at a time, so they may be tokenized when they are read.
    tokens: the number of tokens per forward pass, by what memory allows. device: None takes the GPU where there is
    one. layout: how the ranks hold the model. activations: what the backward pass does with those of the layers.
    moments: which epochs keep them; where later epochs were removed, the run goes on after the last one that has them.
    written: called in rank 0 with the folder of each epoch that is written, such as to copy it.

    ModelMissing and ValueError as `untrained_model` raises them. ValueError for no samples, a sample with nothing to
    supervise, epochs of another run in the folder, a warm-up that takes all steps, and shards of one process.
    NonFinite and OSError (a full disk) end the run; whole epochs stay. An error on one rank leaves the other ranks
    waiting for it, so whoever starts the ranks has to end them together.
    """
    if not len(samples):
        raise ValueError("there is no sample to train on")
    found = epochs.whole_epochs(declaration, len(samples), folder)
    if len(found) == declaration.epochs:
        return found
    found = epochs.with_moments(found)
    declaration.rate(0, declaration.epochs * declaration.steps(len(samples)))
    together = ranks.here(layout)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        run = Run.started(declaration, samples, found[-1] if found else None, place, tokens, together, activations)
        if together.rank == 0:
            epochs.begin(folder, len(found) * run.steps)
        together.wait()
        for epoch in range(len(found) + 1, declaration.epochs + 1):
            records, outcomes = run.epoch(epoch, folder)
            state = epochs.State.of(declaration, run.model, run.adam)
            if together.rank == 0:
                epochs.write_epoch(folder, epoch, declaration, run.model, state, records, len(samples), outcomes)
                if moments == "latest":
                    (folder / f"epoch-{epoch - 1}" / MOMENTS).unlink(missing_ok=True)
                written(folder / f"epoch-{epoch}")
            together.wait()
    return epochs.whole_epochs(declaration, len(samples), folder)


@dataclass(frozen=True)
class Run:
    """A training run in progress: the model, its optimiser and where they are."""

    declaration: Finetune
    samples: Sequence[Supervised]
    model: Any
    adam: torch.optim.AdamW
    device: torch.device
    tokens: int
    together: Ranks

    @classmethod
    def started(
        cls,
        declaration: Finetune,
        samples: Sequence[Supervised],
        last: Path | None,
        device: torch.device,
        tokens: int,
        together: Ranks,
        activations: Activations,
    ) -> "Run":
        """The run after its last whole epoch, or before its first."""
        if last is None and declaration.after is not None:
            last = declaration.after.folder()
        model = _begun(declaration, last) if together.reads else empty_model(declaration, last)
        model.train()
        if activations == "recomputed":
            recompute_activations(model)
        together.hold(model, device, declaration.precision)
        adam = optimiser(model, declaration, device)
        if last is not None:
            epochs.resume_moments(last, model, adam, together)
        return cls(declaration, samples, model, adam, device, tokens, together)

    @property
    def steps(self) -> int:
        """The number of optimiser steps per epoch."""
        return self.declaration.steps(len(self.samples))

    def epoch(self, epoch: int, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """Takes the steps of an epoch; returns its lines of losses.jsonl, and a classifier's outcomes."""
        records, ids, right = [], [], []
        total = self.declaration.epochs * self.steps
        for at, positions in enumerate(self.declaration.batches(len(self.samples), epoch)):
            step = (epoch - 1) * self.steps + at
            rate = self.declaration.rate(step, total)
            rows = [self.samples[int(position)] for position in positions]
            loss, count, correct = self._step(rows, step, rate)
            ids += [row.id for row in rows]
            right.append(correct.cpu())
            records.append({"step": step + 1, "epoch": epoch, "loss": loss, "learning_rate": rate, "tokens": count})
            if self.together.rank == 0:
                with (folder / LOSSES).open("a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
        if self.declaration.labels is None:
            return records, {}
        return records, {"id": torch.tensor(ids), "right": torch.cat(right).to(torch.uint8)}

    def _step(self, rows: list[Supervised], step: int, rate: float) -> tuple[float, int, Tensor]:
        """Takes one step; returns its loss, its number of supervised tokens, and (rows,) 1 for a correct prediction."""
        counts = supervised_counts(rows, self.declaration.labels)
        shares = self._shares(counts)
        sums = torch.zeros(len(rows), device=self.device)
        right = torch.zeros(len(rows), device=self.device)
        share = torch.from_numpy(shares).to(self.device, torch.float32)
        passes = list(batches([len(row.input_ids) for row in rows], self.tokens))
        for number, counted in self.together.shares(len(passes)):
            torch.manual_seed(_seed(self.declaration.seed, step, number))
            at = passes[number]
            with precise(self.declaration.precision, self.device):
                losses, correct = summed_losses(self.model, [rows[each] for each in at], self.declaration.labels)
            (losses * share[at] * counted).sum().backward()
            sums[at] += losses.detach() * counted
            right[at] += correct * counted
        weights = [weight for group in self.adam.param_groups for weight in group["params"]]
        for weight in weights:
            if weight.grad is None:  # of a layer that none of this rank's samples used
                weight.grad = torch.zeros_like(weight)
        self.together.add([sums, right])
        length = self.together.shorten(weights, self.declaration.clip or float("inf"))
        self._check(sums, length, rows, step)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.adam.zero_grad()
        return float(sums.double().cpu().numpy() @ shares), int(counts.sum()), right

    def _shares(self, counts: np.ndarray) -> np.ndarray:
        """(rows,) float64 weight of each row's summed loss in the loss of a step."""
        if self.declaration.mean_over == "samples":
            return 1 / (len(counts) * counts)
        return np.full(len(counts), 1 / counts.sum() if self.declaration.mean_over == "tokens" else 1.0)

    def _check(self, sums: Tensor, length: Tensor, rows: list[Supervised], step: int) -> None:
        """Raises NonFinite before the weights move, with the samples whose loss is not finite, or all of the step."""
        wrong = [row.id for row, finite in zip(rows, sums.isfinite().tolist(), strict=True) if not finite]
        if wrong or not length.isfinite():
            raise NonFinite(step + 1, wrong or [row.id for row in rows])


def optimiser(model: Any, declaration: Finetune, device: torch.device) -> torch.optim.AdamW:
    """AdamW over the trained weights of a model.

    On a GPU it is one kernel: in the default form a step takes further memory, as much as the weights.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1]},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=declaration.learning_rate,
        betas=declaration.betas,
        eps=declaration.epsilon,
        weight_decay=declaration.weight_decay,
        fused=True if device.type == "cuda" else None,
    )


def _begun(declaration: Finetune, last: Path | None) -> Any:
    return untrained_model(declaration) if last is None else trained_model(declaration, last)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
