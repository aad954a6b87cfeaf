"""RDS+: Large-Scale Data Selection for Instruction Tuning (Ivison et al. 2025, arXiv 2503.01807).

1. Read each sample with a language model, and average its last hidden states, a later token weighing more.
2. Do the same for a few target samples of each subtask.
3. The score of a sample for a subtask is its highest cosine to a target of the subtask.
4. The subtasks take turns: each chooses the sample with its highest score that is not chosen yet.

Before use: `target` is a file of samples of the tasks that the model is meant for. The model is the one that will be
trained, or another of its family. With one subtask the samples are in the order of their scores. Ties go by id.
"""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Pool, Selection
from jobs.engine.terminal.errors import WinnowError
from jobs.methods.targets import Targeted
from jobs.methods.turns import Turns
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.embedding.hidden_state import HiddenState


@dataclass(frozen=True, config=STRICT)
class RDS(Targeted):
    """Samples that the subtasks choose in turn, by the similarity of hidden states."""

    published: ClassVar = {"hidden.model.name": "meta-llama/Llama-2-7b-hf"}

    hidden: HiddenState = HiddenState(Checkpoint("Qwen/Qwen3-1.7B-Base"))
    """The model whose hidden states are averaged. As published, Llama-2-7B."""

    def select(self, pool: Pool) -> Selection:
        """Compares samples and targets, and lets the subtasks choose."""
        targets = self.targets(pool)
        read = targets.pool.map(hidden=self.hidden)
        if failed := targets.pool - read:
            raise WinnowError(f"targets: {len(failed)} cannot be read; the first is sample {failed.ids[0]}")
        shown = pool.map(hidden=self.hidden)
        turns = Turns(shown, "hidden", read.values("hidden"), targets.subtasks)
        kept = self.within(pool, turns.first)
        scored = turns.scored()
        return pool.selection(
            kept,
            score="score",
            because={"less similar to the targets": scored, "chosen by a subtask in its turn": kept},
            details={"subtask": scored.column("subtask")},
            facts={"targets per subtask": targets.counts()},
            vector="hidden",
        )
