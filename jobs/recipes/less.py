"""LESS: Selecting Influential Data for Targeted Instruction Tuning (Xia et al. 2024, ICML, arXiv 2402.04333).

1. Warm up: train a LoRA adapter on a random share of the pool, and keep a checkpoint per epoch.
2. At each checkpoint, compute the gradient of every sample, as the step that Adam would make with it, and the gradients
   of a few target samples.
3. A sample's influence on a subtask is its mean cosine to the subtask's targets, weighted over the checkpoints by their
   learning rates. The score of a sample is its highest influence over the subtasks.
4. Keep the samples with the highest scores.

Before use: `target` is a file of samples of the tasks that the model is meant for. A sample with nothing to supervise,
or with a gradient that is zero or not finite, is never selected and is counted; the released code gives it the momentum
or NaN, which sorts first. Ties go by id. For LESS-T, train another model with `winnow finetune` on the selection.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Later, Pool, Selection, Step
from jobs.methods.less_influence import Comparison
from jobs.methods.targets import Targeted
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.gradients.directions import Aggregate
from operators.gradients.gradient import Gradient, Projected
from operators.models.precision import Precision
from operators.training.files import epoch_facts
from operators.training.finetune import Finetune


@dataclass(frozen=True, config=STRICT)
class LESS(Targeted):
    """Keep the samples whose training step would lower the targets' loss the most."""

    published: ClassVar = {
        "train.base.name": "meta-llama/Llama-2-7b-hf", "train.template": "tulu_prefixes", "train.batch": 128,
        "projection.kind": "rademacher", "projection.stored": "float32", "precision": "bfloat16",
    }  # fmt: skip

    train: Finetune = Finetune(Checkpoint("Qwen/Qwen3-1.7B-Base"))
    """The warm-up. The base is a small model with open access; as published, Llama-2-7B. The schedule is linear, as the
    learning rates of the released code show, where the text says cosine. An epoch in which all steps have learning rate
    0 is not compared. The loss of a target includes its end token, as for any sample. train.batch is 128 from 2,048
    samples on, and for fewer samples the number that makes 16 steps per epoch (at least 8); as published, always 128.
    train.template tulu tokenizes prompts and responses separately; as published, their borders are found as in the
    code, which makes some tokenizers learn a blank after each response."""
    warmup_share: Annotated[float, Limits(gt=0, le=1)] = 0.05
    """The share of warm-up samples, drawn with `seed`; in the released code, the seed changes only their order."""
    projection: Projected | None = None
    """A random projection of the gradients. none: the gradients are multiplied by the targets' mean directions, which
    gives the cosines that a projection estimates, without its error. With a projection, the features in the store also
    serve other targets: shift is as accurate as rademacher, the paper's, and far cheaper. The features are stored in
    float16; as published, in float32."""
    aggregate: Aggregate = "mean_of_cosines"
    """mean_of_cosines: as in the released code. cosine_of_mean: as in the text of the paper."""
    epsilon_place: Literal["inside", "outside"] = "inside"
    """Where Adam's epsilon is: inside the root of the second moment, as in the released code; outside, as in Adam."""
    precision: Precision = "auto"
    """The precision of the model. auto: bfloat16 on GPUs; as published, always bfloat16. Gradients are float32."""

    def refusals(self) -> Iterator[str]:
        """Refuses a missing target, and a training without an adapter."""
        yield from super().refusals()
        if self.train.lora is None:
            yield "LESS computes gradients of a LoRA adapter: leave train.lora at its default"

    def steps(self) -> dict[str, Step]:
        """The targets, the warm-up, and the gradients at each of its epochs."""
        epochs = {f"epoch_{number}": Later("Gradient") for number in range(1, self.train.epochs + 1)}
        return {**super().steps(), **epochs}

    def select(self, pool: Pool) -> Selection:
        """Warms up, compares at every checkpoint, and keeps the samples with the highest influence."""
        targets = self.targets(pool)
        drawn = pool.shuffled(self.seed)[: math.ceil(self.warmup_share * pool.samples)]
        epochs = drawn.train(replace(self.train, seed=self.train.seed + self.seed))
        facts = {f"epoch_{number}": epoch_facts(epoch) for number, epoch in enumerate(epochs, start=1)}
        rates = {name: each["learning_rate"] for name, each in facts.items()}
        gradients = {name: self._gradient(epoch) for name, epoch in zip(facts, epochs, strict=True) if rates[name]}
        comparison = Comparison(targets, self.aggregate, projected=self.projection is not None)
        scored = comparison.influential(pool, gradients, rates)
        kept = self.within(pool, scored.ranked("influence"))
        return pool.selection(
            kept,
            score="influence",
            because={"less influence on every subtask": scored, "influence on a subtask": kept},
            details={"subtask": scored.column("subtask"), **{name: scored.column(f"at_{name}") for name in gradients}},
            facts={
                "targets per subtask": targets.counts(),
                "warm-up samples": len(drawn),
                "batch size": facts["epoch_1"]["batch"],
                "learning rates": list(rates.values()),
                "second moments above epsilon": [each["second_moments_above_epsilon"] for each in facts.values()],
            },
        )

    def _gradient(self, epoch: Checkpoint) -> Gradient:
        """The gradient operator of targets at an epoch; for samples it has feature=adam."""
        trainer = self.train
        return Gradient(
            trainer.base, epoch, feature="sgd", onto=self.projection or Projected(), template=trainer.template,
            max_tokens=trainer.max_tokens, betas=trainer.betas, epsilon=trainer.epsilon,
            epsilon_place=self.epsilon_place, precision=self.precision,
        )  # fmt: skip
