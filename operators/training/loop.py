"""The training loop: a `Finetune` carried out on tokenized samples, a folder an epoch.

    folder/losses.jsonl                   a line a step: step, epoch, loss, learning_rate, tokens (trained on)
    folder/epoch-1/adapter_model.safetensors, adapter_config.json    or, without LoRA, model*.safetensors, config.json
                   tokenizer files
                   adam.safetensors       exp_avg.<parameter>, exp_avg_sq.<parameter>: Adam's moments, float32
                   outcomes.safetensors   of a classifier: id and right, whether it told each sample's class
                   training.json          what was trained, on how much, and the learning rate of each step

It runs in one process, or as every rank of an initialised torch.distributed group whose ranks see one folder. A step's
samples are cut into passes of like length; what passes there are, and each one's dropout, follow from the
declaration, the step and `tokens` alone. The ranks share the passes out among them and add their gradients up, so
that losses and weights are those of one process but for the order of sums. A rank holds the whole model, or a share
of it (operators/training/ranks.py); the folders are the same, and a run begun one way can go on the other way.

An epoch's folder appears when it is whole. A run that was stopped goes on after the last whole epoch and comes to the
weights it would have come to (bitwise, on a CPU with the same number of threads).
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from operators.losses.classifier import predictions
from operators.models.forward import hidden_at, language_head, padded
from operators.supervision.labels import Labels
from operators.supervision.supervised import IGNORED, Supervised
from operators.training import lora, ranks
from operators.training.finetune import Finetune, Layout, Precision
from operators.training.ranks import Ranks

TOKENS = 4096
"""Tokens of a pass, padding included; a longer sample is a pass by itself."""

SAY_SECONDS = 30.0

Say = Callable[[str], None]


class NonFinite(ValueError):
    """A step whose loss or gradient is no number; `ids`: the samples to look at."""

    def __init__(self, step: int, ids: Sequence[int]):
        self.step = step
        self.ids = list(ids)
        super().__init__(f"step {step}: the loss or its gradient is not finite for samples {self.ids}")


def train(
    declaration: Finetune,
    samples: Sequence[Supervised],
    folder: Path,
    say: Say,
    *,
    tokens: int = TOKENS,
    device: torch.device | str | None = None,
    layout: Layout = "copies",
) -> list[Path]:
    """The folders of all epochs, in order; those that are whole already are not trained again.

    samples: only their number, and those of a step at a time, are asked for, so they may be tokenized then. say: gets
    a line at most every 30 s and at each epoch's end, on rank 0. tokens: of a forward pass; what memory allows.
    device: None for the GPU where there is one. layout: how the ranks hold the model. ModelMissing and ValueError as
    `lora.untrained`; ValueError for no samples, a sample with nothing to supervise, epochs in the folder that are
    another run's, a warm-up that takes all steps, and shards of one process. NonFinite, and OSError (a full disk) end
    the run; whole epochs stay. What ends one rank leaves the others waiting for it, so that whoever starts the ranks
    has to end them together.
    """
    if not len(samples):
        raise ValueError("there is no sample to train on")
    found = lora.whole_epochs(declaration, len(samples), folder)
    if len(found) == declaration.epochs:
        return found
    declaration.rate(0, declaration.epochs * declaration.steps(len(samples)))
    together = ranks.here(layout)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        run = Run.started(declaration, samples, found[-1] if found else None, place, tokens, say, together)
        if together.rank == 0:
            lora.begin(folder, len(found) * run.steps)
        together.wait()
        for epoch in range(len(found) + 1, declaration.epochs + 1):
            records, outcomes = run.epoch(epoch, folder)
            state = lora.State.of(declaration, run.model, run.adam, together)
            if together.rank == 0:
                done = lora.write_epoch(folder, epoch, declaration, run.model, state, records, len(samples), outcomes)
                found.append(done)
                loss = sum(record["loss"] for record in records) / len(records)
                say(f"epoch {epoch} of {declaration.epochs}: loss {loss:.4f}")
            together.wait()
    return lora.whole_epochs(declaration, len(samples), folder)


@dataclass(frozen=True)
class Run:
    """A model at work."""

    declaration: Finetune
    samples: Sequence[Supervised]
    model: Any
    adam: torch.optim.AdamW
    device: torch.device
    tokens: int
    say: Say
    together: Ranks

    @classmethod
    def started(
        cls,
        declaration: Finetune,
        samples: Sequence[Supervised],
        last: Path | None,
        device: torch.device,
        tokens: int,
        say: Say,
        together: Ranks,
    ) -> "Run":
        """The run after its last whole epoch, or before its first."""
        if last is None and declaration.after is not None:
            last = declaration.after.folder()
        model = lora.untrained(declaration) if last is None else lora.trained(declaration, last)
        model.train()
        together.hold(model, device, declaration.precision)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        groups = [
            {"params": [weight for weight in weights if weight.dim() > 1]},
            {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
        ]
        adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=declaration.learning_rate,
            betas=declaration.betas,
            eps=declaration.epsilon,
            weight_decay=declaration.weight_decay,
        )
        if last is not None:
            lora.resume_moments(last, model, adam)
        return cls(declaration, samples, model, adam, device, tokens, say, together)

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.declaration.steps(len(self.samples))

    def epoch(self, epoch: int, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """What losses.jsonl has of the epoch, whose steps it takes, and a classifier's outcomes."""
        records, ids, right, said = [], [], [], time.monotonic()
        total = self.declaration.epochs * self.steps
        for at, positions in enumerate(self.declaration.batches(len(self.samples), epoch)):
            step = (epoch - 1) * self.steps + at
            rate = self.declaration.rate(step, total)
            rows = [self.samples[int(position)] for position in positions]
            loss, count, told_right = self._step(rows, step, rate)
            ids += [row.id for row in rows]
            right.append(told_right.cpu())
            records.append({"step": step + 1, "epoch": epoch, "loss": loss, "learning_rate": rate, "tokens": count})
            if self.together.rank == 0:
                with (folder / lora.LOSSES).open("a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
                if time.monotonic() - said > SAY_SECONDS:
                    said = time.monotonic()
                    self.say(f"step {step + 1} of {total}: loss {loss:.4f}")
        if self.declaration.labels is None:
            return records, {}
        return records, {"id": torch.tensor(ids), "right": torch.cat(right).to(torch.uint8)}

    def _step(self, rows: list[Supervised], step: int, rate: float) -> tuple[float, int, Tensor]:
        """The loss of a step's samples, over how many tokens it is, and which a classifier got right; weights move."""
        counts = supervised_counts(rows, self.declaration.labels)
        shares = self._shares(counts)
        sums = torch.zeros(len(rows), device=self.device)
        right = torch.zeros(len(rows), device=self.device)
        share = torch.from_numpy(shares).to(self.device, torch.float32)
        cut = passes([len(row.input_ids) for row in rows], self.tokens)
        for number, counted in self.together.shares(len(cut)):
            torch.manual_seed(_seed(self.declaration.seed, step, number))
            at = cut[number]
            with precise(self.declaration.precision, self.device):
                losses, told_right = summed_losses(self.model, [rows[each] for each in at], self.declaration.labels)
            (losses * share[at] * counted).sum().backward()
            sums[at] += losses.detach() * counted
            right[at] += told_right * counted
        weights = [weight for group in self.adam.param_groups for weight in group["params"]]
        for weight in weights:
            if weight.grad is None:  # of a layer that this rank's samples had no use for
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
        """What a row's summed loss counts in the loss of a step, (rows,) float64."""
        if self.declaration.mean_over == "samples":
            return 1 / (len(counts) * counts)
        return np.full(len(counts), 1 / counts.sum() if self.declaration.mean_over == "tokens" else 1.0)

    def _check(self, sums: Tensor, length: Tensor, rows: list[Supervised], step: int) -> None:
        """NonFinite, before the weights move; it names the samples whose loss it is, else all of the step."""
        wrong = [row.id for row, finite in zip(rows, sums.isfinite().tolist(), strict=True) if not finite]
        if wrong or not length.isfinite():
            raise NonFinite(step + 1, wrong or [row.id for row in rows])


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


@contextmanager
def precise(precision: Precision, device: torch.device) -> Iterator[None]:
    """While it lasts, matrix products are computed in the precision."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def passes(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Positions of rows of like length, the longest first, as many together as have `tokens` with their padding."""
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    cut = []
    while order:
        size = max(1, tokens // lengths[order[0]])
        cut.append(order[:size])
        order = order[size:]
    return cut


def supervised_counts(rows: Sequence[Supervised], labels: Labels | None) -> np.ndarray:
    """(rows,) int64, the tokens that a row's loss is over, 1 of a classified text; ValueError for a row without any."""
    if labels is not None:
        return np.ones(len(rows), np.int64)
    wrong = [row.id for row in rows if not row.count]
    if wrong:
        raise ValueError(f"samples {wrong[:10]} have no token to supervise")
    return np.array([row.count for row in rows], np.int64)


def summed_losses(model: Any, rows: Sequence[Supervised], labels: Labels | None) -> tuple[Tensor, Tensor]:
    """Each row's summed loss, (rows,) float32, and whether a classifier is right of it (0 of a language model).

    Of the negative log-likelihood of the supervised tokens; of a classifier, what `Predictions.losses` says.
    """
    if labels is not None:
        found = predictions(model, rows, labels)
        return found.losses(), found.correct.float()
    ids, targets = padded(rows, next(model.parameters()).device)
    supervised = F.pad(targets[:, 1:] != IGNORED, (0, 1))
    with hidden_at(language_head(model), supervised):
        logits = model(input_ids=ids, use_cache=False).logits[0]
    losses = F.cross_entropy(logits.float(), targets.roll(-1, 1)[supervised], reduction="none")
    zeros = torch.zeros(len(rows), device=ids.device)
    return zeros.index_add(0, supervised.nonzero()[:, 0], losses), zeros


def held_out_losses(
    model: Any,
    samples: Sequence[Supervised],
    *,
    precision: Precision = "float32",
    labels: Labels | None = None,
    tokens: int = TOKENS,
) -> tuple[np.ndarray, np.ndarray]:
    """The summed loss of each sample, (n,) float64, and over how many tokens, (n,) int64; dropout is off.

    Their sums' ratio is the loss a token, and `kernels.bootstrap.interval` says how sure it is. A loss that is no
    number is NaN or infinite here. ValueError for a sample with nothing to supervise.
    """
    counts = supervised_counts(samples, labels)
    sums = np.empty(len(samples))
    model.eval()
    with torch.inference_mode(), precise(precision, next(model.parameters()).device):
        for at in passes([len(row.input_ids) for row in samples], tokens):
            losses, _ = summed_losses(model, [samples[position] for position in at], labels)
            sums[at] = losses.double().cpu().numpy()
    return sums, counts
