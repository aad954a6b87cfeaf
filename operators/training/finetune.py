"""What a training run is: the model it starts from, how samples become tokens, and the optimiser's numbers.

    Finetune(Checkpoint("meta-llama/Llama-2-7b-hf"))                 # LESS's warm-up
    Finetune(Checkpoint("/models/base"), lora=None, template="alpaca", epochs=3, max_tokens=512, schedule="cosine")

The defaults are LESS's (Xia et al. 2024, arXiv 2402.04333, and its released training arguments). `loop.py`
carries the declaration out.
"""

import hashlib
import json
import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, canonical_json, described
from operators.checkpoint import Checkpoint
from operators.positions import SampleTokens, refuse_too_many
from operators.supervision.labels import Labels
from operators.supervision.supervised import Template

FACTS = "training.json"
OUTCOMES = "outcomes.safetensors"

Precision = Literal["float32", "bfloat16"]
Layout = Literal["copies", "shards"]
"""How the processes that train together hold the model: each the whole of it, or each a share (ranks.py)."""

STEPS = 16
FEWEST, MOST = 8, 128
"""A batch by the number of samples leaves so many steps an epoch, but has so many samples at least and at most."""

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class LoRA:
    """Low-rank adapters beside linear layers, instead of the model's own weights (Hu et al. 2021)."""

    rank: Annotated[int, Field(ge=1)] = 128
    alpha: Positive = 512.0
    """The adapter's output counts alpha / rank times."""
    dropout: Share = 0.1
    modules: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """The last part of the names of the linear layers that get one."""


@dataclass(frozen=True, config=STRICT)
class Finetune:
    """A training run; its fields are its identity, and where it runs is none of them."""

    version: ClassVar[int] = 3
    """Raised when the code trains something else for the same fields."""

    base: Checkpoint
    lora: LoRA | None = LoRA()
    """None: all weights are trained."""
    template: Template = "tulu"
    labels: Labels | None = None
    """What a classifier is to tell; it has no use for the template. None: a language model is trained."""
    after: Checkpoint | None = None
    """An epoch's folder of another run to go on from, with its weights and Adam's moments; None: from the base."""
    fresh_layers: Annotated[int, Field(ge=0)] = 0
    """The last so many layers of the base that begin anew, from the seed."""
    max_tokens: SampleTokens = None
    """A sample's tokens after which it is cut; None: 2,048, or as many as the base has positions for."""
    epochs: Annotated[int, Field(ge=1)] = 4
    batch: Annotated[int, Field(ge=1)] | None = None
    """Samples an optimiser step, all ranks together; the last step of an epoch takes what is left. None: LESS's 128, or
    fewer, down to 8, where an epoch would have less than 16 steps."""
    mean_over: Literal["samples", "tokens", "nothing"] = "samples"
    """The loss of a step. samples: the mean over its samples of each one's mean over its tokens, as LESS trains (its
    batches are of one sample) and takes gradients; tokens: the mean over all tokens of the step; nothing: their sum. A
    classified sample counts as one token."""
    learning_rate: Positive = 2e-5
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up: to 0 at the end, or not at all."""
    warmup: Share = 0.03
    """The share of all steps, rounded up, in which the rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's, of weights with two dimensions and more; biases and norms have none."""
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    clip: Positive | None = 1.0
    """The longest gradient of a step; None: as long as it is."""
    precision: Precision = "bfloat16"
    """bfloat16: products in bfloat16, and the weights that are not trained stored so; what is trained, and Adam's
    moments, are float32 always."""
    seed: Annotated[int, Field(ge=0)] = 0

    def check(self) -> None:
        """ModelMissing where the base, or what it goes on from, is not there; no model is loaded.

        ValueError where the base has fewer positions than max_tokens.
        """
        self.base.check()
        if self.after is not None:
            self.after.check()
        refuse_too_many(self.base, self.max_tokens)

    def fingerprint(self) -> str:
        """Hex SHA-256 of the canonical JSON of name, version and fields."""
        identity = {"trainer": type(self).__name__, "version": self.version, "fields": described(self)}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()

    def step_samples(self, samples: int) -> int:
        """How many of so many samples an optimiser step takes: `batch`, where it is given."""
        return self.batch or min(max(samples // STEPS, FEWEST), MOST)

    def steps(self, samples: int) -> int:
        """Optimiser steps an epoch."""
        return math.ceil(samples / self.step_samples(samples))

    def idle_epochs(self, samples: int) -> list[int]:
        """The epochs, counted from 1, in which nothing is learnt: the learning rate of all their steps is 0.

        ValueError where that is so of the whole run.
        """
        steps = self.steps(samples)
        rates = [self.rate(step, self.epochs * steps) for step in range(self.epochs * steps)]
        return [epoch for epoch in range(1, self.epochs + 1) if not any(rates[(epoch - 1) * steps : epoch * steps])]

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of a run of so many steps.

        Hugging Face's schedules, with which the papers train: the rate starts at 0, so that the first step of a
        warm-up moves nothing but Adam's moments. ValueError for a warm-up that takes all steps.
        """
        rising = math.ceil(self.warmup * steps)
        if rising >= steps:
            raise ValueError(
                f"the warm-up takes all of the run's {steps} steps, so that nothing would be trained: "
                "set batch lower, or warmup to 0"
            )
        if step < rising:
            return self.learning_rate * step / rising
        done = (step - rising) / (steps - rising)
        falling = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
        return self.learning_rate * falling[self.schedule]

    def batches(self, samples: int, epoch: int) -> list[np.ndarray]:
        """The positions of the samples of each step of an epoch, counted from 1: a permutation by (seed, epoch)."""
        order = np.random.default_rng([self.seed, epoch]).permutation(samples)
        size = self.step_samples(samples)
        return [order[start : start + size] for start in range(0, samples, size)]


LIKE_ALPACA = Finetune(
    Checkpoint("Qwen/Qwen3-1.7B-Base"),
    lora=None,
    template="alpaca",
    max_tokens=512,
    epochs=3,
    batch=128,
    mean_over="tokens",
    schedule="cosine",
)
"""Stanford Alpaca's training (Taori et al. 2023) of all weights, which the papers follow, of a model of today."""


def epoch_facts(epoch: Checkpoint) -> dict[str, Any]:
    """What training.json in the folder of an epoch says: loss, learning_rate (the mean over its steps) and more."""
    return json.loads((epoch.folder() / FACTS).read_text())


def epoch_outcomes(epoch: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """What a classifier told in an epoch of its training, of each sample as it came by: ids, and whether it was right.

    Before the step that the sample is part of, with dropout; (samples,) int64, ascending, and (samples,) bool.
    """
    from safetensors.numpy import load_file

    stored = load_file(epoch.folder() / OUTCOMES)
    order = np.argsort(stored["id"])
    return stored["id"][order], stored["right"][order].astype(bool)
