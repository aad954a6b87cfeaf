"""LESS: Selecting Influential Data for Targeted Instruction Tuning (Xia et al. 2024, ICML, arXiv 2402.04333).

1. Warm up: train a LoRA adapter on a random share of the pool, and keep a checkpoint per epoch.
2. At each checkpoint take the gradient of every sample, as the step that Adam would make with it, and the gradients of
   a few target samples.
3. A sample's influence on a subtask is the mean cosine to its targets, weighted over the checkpoints by their learning
   rates. Its score is that of the best subtask.
4. Keep the samples with the highest scores.

Before use: `target` is a file of samples like those that the model shall be good at. A sample with nothing to
supervise, or with a gradient that is zero or not finite, is never selected and is counted; the released code gives it
the momentum or NaN, which sorts first. Ties go by id. LESS-T, which trains another model than it selects with, is
`winnow finetune` on the selection.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.command.places import missing
from jobs.engine.recipe import Later, Pool, Reads, Recipe, Selection, Step
from jobs.methods.influences import Comparison, compared, influential
from jobs.methods.targets import AUTO, Targets
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.gradients.directions import Aggregate
from operators.gradients.gradient import Gradient, Projected
from operators.models.precision import Precision
from operators.training.files import epoch_facts
from operators.training.finetune import Finetune


@dataclass(frozen=True, config=STRICT)
class LESS(Recipe):
    """The samples whose training step would lower the targets' loss the most."""

    published: ClassVar = {
        "train.base.name": "meta-llama/Llama-2-7b-hf", "train.template": "tulu_prefixes", "train.batch": 128,
        "projection.kind": "rademacher", "projection.stored": "float32", "precision": "bfloat16",
    }  # fmt: skip
    needs: ClassVar = ("target=FILE, samples like those that the model shall be good at",)

    target: str = ""
    """The file of target samples, in any format. A target is learnt from like a sample, its end token included."""
    subtask: str | None = AUTO
    """The field of the records that names each target's subtask. auto is the field "subtask", and without it all
    targets are one subtask, as with none."""
    train: Finetune = Finetune(Checkpoint("Qwen/Qwen3-1.7B-Base"))
    """The warm-up. The base is a small model that can be had without asking; as published it is Llama-2-7B. The
    schedule is linear, as the code's learning rates show, where the text says cosine; the learning rates are read from
    the run, and an epoch whose steps all have learning rate 0 is not compared. train.batch is 128 from 2,048 samples
    on, and below that the number that makes 16 steps per epoch (8 at least); as published it is 128 always.
    train.template tulu tokenizes prompts and responses by themselves; as published their borders are found as the code
    does, by which some tokenizers have a blank learnt after each response."""
    warmup_share: Annotated[float, Limits(gt=0, le=1)] = 0.05
    """The share of the samples to warm up on, drawn by `seed`, which in the released code changes only their order."""
    projection: Projected | None = None
    """A random projection of the gradients. Without one the targets' mean directions are put into the product itself,
    which gives the cosines that a projection estimates, without its error. With one the features stay in the store and
    serve other targets: shift is as exact as rademacher, the paper's, and far cheaper. They are stored in float16; as
    published in float32."""
    aggregate: Aggregate = "mean_of_cosines"
    """mean_of_cosines is the code's; the text has cosine_of_mean."""
    epsilon_place: Literal["inside", "outside"] = "inside"
    """Whether Adam's epsilon is under the root of the second moment, as in the released code, or outside as in Adam."""
    precision: Precision = "auto"
    """The precision of the model: auto is bfloat16 on GPUs, as published it is bfloat16 always. Gradients are
    float32."""

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
        drawn = pool.shuffled(self.seed)[: math.ceil(self.warmup_share * pool.samples)]
        epochs = drawn.train(replace(self.train, seed=self.train.seed + self.seed))
        facts = {f"epoch_{number}": epoch_facts(epoch) for number, epoch in enumerate(epochs, start=1)}
        rates = {name: each["learning_rate"] for name, each in facts.items()}
        gradients = {name: self._gradient(epoch) for name, epoch in zip(facts, epochs, strict=True) if rates[name]}
        comparison = Comparison(targets, self.aggregate, projected=self.projection is not None)
        scored = influential(compared(pool, gradients, comparison), {name: rates[name] for name in gradients})
        kept = self.within(pool, scored.ranked("influence"))
        return pool.selection(
            kept,
            score="influence",
            because={"less influence on every subtask": scored, "influence on a subtask": kept},
            details={"subtask": scored.column("subtask"), **{name: scored.column(f"at_{name}") for name in gradients}},
            facts={
                "targets": targets.counts(),
                "warmed up on": len(drawn),
                "batch": facts["epoch_1"]["batch"],
                "learning rates": list(rates.values()),
                "second moments above epsilon": [each["second_moments_above_epsilon"] for each in facts.values()],
            },
        )

    def _gradient(self, epoch: Checkpoint) -> Gradient:
        """The gradient of a target at an epoch; a sample's is the same with feature=adam."""
        trainer = self.train
        return Gradient(
            trainer.base, epoch, feature="sgd", onto=self.projection or Projected(), template=trainer.template,
            max_tokens=trainer.max_tokens, betas=trainer.betas, epsilon=trainer.epsilon,
            epsilon_place=self.epsilon_place, precision=self.precision,
        )  # fmt: skip
