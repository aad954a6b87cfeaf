"""The declaration of a training run: the model it starts from, how samples become tokens, the optimiser's settings.

    Finetune(Checkpoint("meta-llama/Llama-2-7b-hf"))                 # LESS's warm-up
    Finetune(Checkpoint("/models/base"), lora=None, template="alpaca", epochs=3, max_tokens=512, schedule="cosine")

The defaults are LESS's (Xia et al. 2024, arXiv 2402.04333, and its released training arguments). `loop.py`
carries the declaration out.
"""

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, canonical_digest, described
from operators.checkpoint import Checkpoint
from operators.positions import SampleTokens, refuse_too_many
from operators.quantised import refuse_quantised
from operators.supervision.labels import Labels
from operators.supervision.supervised import Template

TrainingPrecision = Literal["float32", "bfloat16"]
Layout = Literal["copies", "shards"]
"""What each of the processes that train together holds: a copy of the model, or a shard of it (ranks.py)."""

Activations = Literal["kept", "recomputed"]
"""kept: a pass keeps the activations of all layers. recomputed: it keeps what enters each layer, and computes the rest
again for the backward pass, which takes a third more time and a small part of the memory."""

STEPS = 16
FEWEST, MOST = 8, 128
"""By default an epoch has `STEPS` optimiser steps, as long as that makes a batch of `FEWEST` to `MOST` samples."""

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class LoRA:
    """Low-rank adapters beside linear layers, instead of the model's own weights (Hu et al. 2021)."""

    rank: Annotated[int, Field(ge=1)] = 128
    alpha: Positive = 512.0
    """The adapter's output is scaled by alpha / rank."""
    dropout: Share = 0.1
    modules: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """The last part of the names of the linear layers that get an adapter."""


@dataclass(frozen=True, config=STRICT)
class Finetune:
    """A training run. Its fields are its identity; where it runs is not part of it."""

    version: ClassVar[int] = 3
    """Increased when the code trains something else for the same fields."""

    base: Checkpoint
    lora: LoRA | None = LoRA()
    """None: all weights are trained."""
    template: Template = "tulu"
    labels: Labels | None = None
    """The labels that a classifier learns to predict; it does not use the template. None: train a language model."""
    after: Checkpoint | None = None
    """An epoch's folder of another run, from whose weights and Adam moments this run starts; None: from the base."""
    fresh_layers: Annotated[int, Field(ge=0)] = 0
    """The number of last layers of the base that are initialised anew, from the seed; 0 for an adapter."""
    max_tokens: SampleTokens = None
    """The number of tokens after which a sample is cut. None: 2,048, or fewer where the base has fewer positions."""
    epochs: Annotated[int, Field(ge=1)] = 4
    batch: Annotated[int, Field(ge=1)] | None = None
    """The number of samples per optimiser step, over all ranks; the last step of an epoch takes the rest. None: LESS's
    128, or fewer, down to 8, where an epoch would have fewer than 16 steps."""
    mean_over: Literal["samples", "tokens", "nothing"] = "samples"
    """The loss of a step. samples: the mean over its samples of the mean over each sample's tokens, as LESS trains (its
    batches have one sample) and takes gradients. tokens: the mean over all tokens of the step. nothing: the sum over
    them. A classified sample counts as one token."""
    learning_rate: Positive = 2e-5
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up: linear and cosine reach 0 at the end, constant does not fall."""
    warmup: Share = 0.03
    """The share of all steps, rounded up, in which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay, for weights with two or more dimensions; biases and norms have none."""
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    clip: Positive | None = 1.0
    """The largest gradient norm of a step; longer gradients are clipped to it. None: no clipping."""
    precision: TrainingPrecision = "bfloat16"
    """bfloat16: matrix products, and frozen weights, are in bfloat16. Trained weights and Adam's moments are always
    float32."""
    seed: Annotated[int, Field(ge=0)] = 0

    def check(self) -> None:
        """Raises ModelMissing where `base` or `after` is not there; loads no model.

        ValueError where the base has fewer positions than max_tokens, for quantised weights, and for an adapter with
        fresh layers.
        """
        if self.lora is not None and self.fresh_layers:
            raise ValueError(
                f"fresh_layers={self.fresh_layers} with an adapter, whose folder has no layers: its readers would "
                "add the adapter to the base's own layers. Set lora to none, or fresh_layers to 0"
            )
        self.base.check()
        refuse_quantised(self.base.config(), self.base.name)
        if self.after is not None:
            self.after.check()
        refuse_too_many(self.base, self.max_tokens)

    def fingerprint(self) -> str:
        """Hex SHA-256 of the canonical JSON of name, version and fields."""
        identity = {"trainer": type(self).__name__, "version": self.version, "fields": described(self)}
        return canonical_digest(identity)

    def step_samples(self, samples: int) -> int:
        """The number of samples per optimiser step when training on `samples` samples: `batch`, where it is set."""
        return self.batch or min(max(samples // STEPS, FEWEST), MOST)

    def steps(self, samples: int) -> int:
        """The number of optimiser steps per epoch."""
        return math.ceil(samples / self.step_samples(samples))

    def idle_epochs(self, samples: int) -> list[int]:
        """The epochs, counted from 1, that train nothing, because the learning rate of all their steps is 0.

        ValueError where the whole run would train nothing.
        """
        steps = self.steps(samples)
        rates = [self.rate(step, self.epochs * steps) for step in range(self.epochs * steps)]
        return [epoch for epoch in range(1, self.epochs + 1) if not any(rates[(epoch - 1) * steps : epoch * steps])]

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, in a run of `steps` steps.

        The schedules are those of Hugging Face's transformers, with which the papers train. The rate starts at 0, so
        the first step of a warm-up changes only Adam's moments. ValueError for a warm-up that takes all steps.
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
        """The positions of each step's samples in an epoch, counted from 1; (seed, epoch) decides the permutation."""
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
"""Stanford Alpaca's training of all weights (Taori et al. 2023), which the papers follow, for a current model."""
