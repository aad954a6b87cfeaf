"""LESS: Selecting Influential Data for Targeted Instruction Tuning (Xia et al. 2024, ICML, arXiv 2402.04333).

A short LoRA run on a random share of the pool (the warm-up) leaves a checkpoint an epoch. At each of them the gradient
of every sample, as the step that Adam would make with it, is compared with the gradients of a few target samples. A
sample's influence on a subtask is the mean cosine to its targets, weighted over the checkpoints by their learning
rates; the score is the best subtask's. What differs from the paper and its code, each a field or repaired here:

- `target` is a file of target samples, and `subtask` the field of its records that names the subtask of each: auto is
  the field "subtask", and without it all are one, as with none. Every source format will do; a target is learnt from
  like a sample of the pool, end token included.
- The targets are known, so their mean directions are put into the product itself: the scores that a random projection
  estimates, without its error and without features of 8,192 numbers (`projection` none). With a `projection` the
  features stay in the store and serve other targets; shift is as exact as rademacher, the paper's, and far cheaper.
- `aggregate` mean_of_cosines is the code's; the text has cosine_of_mean. `epsilon_place` inside the root is the code's
  too (Adam's own is outside); betas and epsilon are those of the run, not constants of this recipe.
- The learning rates are read from the run; the code wants them typed. `schedule` linear is what its rates show, where
  the text says cosine. An epoch all of whose steps have learning rate 0 has no weight, and is not compared.
- `warmup_share` of the samples are drawn by `seed`, which there changes only their order. train.batch is 128 from 2,048
  of them on, and below the number that makes 16 steps an epoch (8 at least); `--as-published` has 128 always.
- `train.template` tulu tokenizes prompts and responses by themselves. `--as-published` finds their borders as the code
  does (tulu_prefixes): with a tokenizer that puts a blank after special tokens, one is learnt after each response.
- A sample with nothing to supervise, or a gradient that is not finite or zero, is never selected and is counted with
  its error; there it has the momentum as its feature, or NaN, which sorts first. Ties go by id.
- `precision` auto is bfloat16 on GPUs, for the model, and `--as-published` bfloat16 always; gradients of the adapter
  are float32 always, and a projection's features, where they are stored, float16 (`--as-published`: float32).
- The model is a small one that can be had without asking; `--as-published` takes Llama-2-7B and rademacher signs.

LESS-T, which trains another model than it selects with, is `winnow finetune` on the selection.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.command.places import missing
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Later, Reads, Recipe, Step
from jobs.methods.targets import AUTO, Targets, target_directions, target_features
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.gradients.directions import Aggregate
from operators.gradients.gradient import Gradient, Projected
from operators.kernels.influence import subtask_cosines, weighted_influence
from operators.kernels.ranking import ranked
from operators.kernels.sampling import random_order
from operators.models.precision import Precision
from operators.training.files import epoch_facts
from operators.training.finetune import Finetune


@dataclass(frozen=True, config=STRICT)
class LESS(Recipe):
    """The samples whose training step would lower the targets' loss the most."""

    published: ClassVar = {
        "train.base.name": "meta-llama/Llama-2-7b-hf",
        "train.template": "tulu_prefixes",
        "train.batch": 128,
        "projection.kind": "rademacher",
        "projection.stored": "float32",
        "precision": "bfloat16",
    }
    needs: ClassVar = ("target=FILE, samples like those that the model shall be good at",)

    target: str = ""
    subtask: str | None = AUTO
    train: Finetune = Finetune(Checkpoint("Qwen/Qwen3-1.7B-Base"))
    warmup_share: Annotated[float, Limits(gt=0, le=1)] = 0.05
    projection: Projected | None = None
    aggregate: Aggregate = "mean_of_cosines"
    epsilon_place: Literal["inside", "outside"] = "inside"
    precision: Precision = "auto"

    def refusals(self) -> Iterator[str]:
        """No target, and a training without an adapter."""
        if self.target:
            yield from missing("target", self.target)
        else:
            yield "LESS selects for a target: name a file of target samples by target=FILE"
        if self.train.lora is None:
            yield "LESS takes gradients of a LoRA adapter: leave train.lora as it is"

    def steps(self) -> dict[str, Step]:
        """The targets, the warm-up, and the gradients at each of its epochs."""
        targets = {"target": Reads(self.target)} if self.target else {}
        epochs = {f"epoch_{number}": Later("Gradient") for number in range(1, self.train.epochs + 1)}
        return {**targets, **super().steps(), **epochs}

    def select(self, pool: Pool) -> Selection:
        """Warm up, compare at every checkpoint, and keep the highest influence."""
        targets = Targets.read(pool.beside(self.target), self.subtask)
        pool = self.counted(pool)
        drawn = random_order(pool.samples, self.seed)[: math.ceil(self.warmup_share * pool.samples)]
        epochs = pool.train(replace(self.train, seed=self.train.seed + self.seed), drawn)
        facts = {f"epoch_{number}": epoch_facts(epoch) for number, epoch in enumerate(epochs, start=1)}
        rates = {name: each["learning_rate"] for name, each in facts.items()}
        ids, tables = np.arange(pool.samples), {}
        for epoch, (name, rate) in zip(epochs, rates.items(), strict=True):
            if rate:  # else it learnt nothing, and has no weight
                pool, tables[name] = self._compared(pool, ids, targets, epoch, name)
                ids = pool.valid(*tables)
        found = weighted_influence([tables[name][ids] for name in tables], [rates[name] for name in tables])
        best = ids[ranked(found.scores)]
        kept = self.within(pool, lambda k: best[:k])
        return pool.select(
            kept,
            score=(ids, found.scores),
            reasons={
                "not scored": np.arange(pool.samples),
                "less influence on every subtask": ids,
                "influence on a subtask": kept,
            },
            details={
                "subtask": (ids, found.subtasks),
                **{name: (ids, table[ids, found.subtasks]) for name, table in tables.items()},
            },
            facts={
                "targets": dict(zip(targets.names, np.bincount(targets.subtasks).tolist(), strict=True)),
                "warmed up on": len(drawn),
                "batch": facts["epoch_1"]["batch"],
                "learning rates": list(rates.values()),
                "second moments above epsilon": [each["second_moments_above_epsilon"] for each in facts.values()],
                "not scored": pool.samples - len(ids),
            },
        )

    def _compared(
        self, pool: Pool, ids: np.ndarray, targets: Targets, epoch: Checkpoint, name: str
    ) -> tuple[Pool, np.ndarray]:
        """The pool with the column, and (samples, subtasks) mean cosines at the epoch, NaN for samples without any."""
        plain = Gradient(
            self.train.base,
            epoch,
            feature="sgd",
            onto=self.projection or Projected(),
            template=self.train.template,
            max_tokens=self.train.max_tokens,
            betas=self.train.betas,
            epsilon=self.train.epsilon,
            epsilon_place=self.epsilon_place,
            precision=self.precision,
        )
        adam = replace(plain, feature="adam")
        if self.projection is None:
            adam = replace(adam, onto=target_directions(targets, plain, self.aggregate))
        pool = pool.map(only=ids, **{name: adam})
        ids = np.intersect1d(ids, pool.valid(name))
        table = np.full((pool.samples, len(targets.names)), np.nan)
        if self.projection is None:
            table[ids] = pool.values(name, ids)
        else:
            features = target_features(targets, plain, name)
            table[ids] = pool.reduce(
                subtask_cosines, name, only=ids, targets=features, subtasks=targets.subtasks, aggregate=self.aggregate
            )
        return pool, table
