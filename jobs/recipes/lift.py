"""LIFT (arXiv 2312.11508): broaden the data by rewriting it, then select for variety and for quality.

Each round has a language model rewrite instructions and answer them; what is finished, new and not empty joins the
pool. Of all samples those with the highest row variance of their embeddings are kept (variety), and of these the best
by 0.9 times a judge's score and 0.1 times a length score (quality). The judge is asked about the variety part only.

What the paper and its released code leave open, or do otherwise:

- `rounds` is 2 and each starts from the one before it; the paper does not say either. `start=original` rewrites the
  originals in every round, each time with another seed. The paper has the originals' outputs generated anew before;
  its code does not do that, and neither does this recipe.
- The prompts are ours. `rewrite.prompt.name` lift_rewrite_code is the one for code. Of several turns the conversation
  is rewritten as one instruction; a system message stays as it is.
- `rewrite.form`: a reply with a lead-in, two inputs or the like is read or counted; `--as-published` splits it at
  "input:" and loses it where there are two. The code loses failed requests silently; here they count as errors.
- The embedder is all-MiniLM-L6-v2, in place of text-embedding-ada-002, which only its vendor runs (in float32 by
  `--as-published`); an input follows its instruction on a new line instead of after "Input:".
- `components`: as many axes as explain 95 % of the variance; `--as-published` takes one fewer, as the code does.
  `signs` fixes how axes are turned, which the scores depend on and older scikit-learn did otherwise
  (`--as-published`). The code's solver is random above 500 samples; ours is exact.
- Samples are joined by id. The code joins by position, and a failed embedding shifts all after it.
- A reply of the judge without a score is dropped and counted; `--as-published` makes it 0, as the code does. More of
  them than `max_unrated` end the run, and so does a round that loses more than `max_lost` of what it rewrites or
  answers.
- `percentile` is strict: where many variances tie with it, fewer are kept. Ties of the final score go by id.
- `budget` is 50 %, the paper's 10,000 for 20,000 samples; per cent are of the samples before they were rewritten.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Budget, Recipe, Step
from jobs.engine.terminal.errors import NothingSelected, Unanswered
from jobs.methods.replies import rated_by, refusal
from operators.asking.judge import Judge
from operators.asking.prompt import Prompt
from operators.asking.respond import Respond
from operators.asking.rewrite import Rewrite
from operators.base import STRICT
from operators.characters import Characters
from operators.embedding.embed import Embed
from operators.kernels.ranking import ranked
from operators.kernels.row_variance import Components, Signs, length_score, percentile_cut, row_variance


@dataclass(frozen=True, config=STRICT)
class LIFT(Recipe):
    """Rewrite and answer, keep the unusual, and of these the best."""

    published: ClassVar = {
        "budget": "10000",
        "rewrite.model.name": "gpt-3.5-turbo",
        "rewrite.form": "published",
        "respond.model.name": "gpt-3.5-turbo",
        "embed.precision": "float32",
        "embed.stored": "float32",
        "components": "one_fewer",
        "signs": "projections",
        "judge.model.name": "gpt-4",
        "judge.form": "lift",
        "judge.temperature": 0.5,
    }

    budget: Budget = "50%"
    rewrite: Rewrite = Rewrite()
    respond: Respond = Respond(temperature=0.5)
    rounds: int = Limits(default=2, ge=0)
    start: Literal["previous", "original"] = "previous"
    embed: Embed = Embed(text="<INST> {instruction} </INST> {response}")
    explained: float = Limits(default=0.95, gt=0, le=1)
    components: Components = "reach"
    signs: Signs = "loadings"
    percentile: float = Limits(default=80.0, ge=0, lt=100)
    judge: Judge = Judge(prompt=Prompt("lift_judge"), lowest=0.0, highest=100.0, step=1.0)
    length: Characters = Characters(text="{instruction}{response}", uncounted="\n\t")
    full_length: float = Limits(default=98.0, ge=0, le=100)
    quality_weight: float = Limits(default=0.9, ge=0, le=1)
    max_unrated: float = Limits(default=0.2, ge=0, le=1)
    max_lost: float = Limits(default=0.5, ge=0, le=1)

    def steps(self) -> dict[str, Step]:
        """Nothing is rewritten where there is no round."""
        steps = super().steps()
        return steps if self.rounds else {name: steps[name] for name in steps if name not in ("rewrite", "respond")}

    def select(self, pool: Pool) -> Selection:
        """Rounds of rewriting, the variety part, and the best of it."""
        larger = self._grown(pool).map(embed=self.embed)
        ids = larger.valid("embed")
        found = larger.reduce(
            row_variance, "embed", only=ids, explained=self.explained, components=self.components, signs=self.signs
        )
        cut = percentile_cut(found.values, self.percentile)
        various = ids[cut.kept]
        if not len(various):
            raise NothingSelected(f"no row variance is above percentile {self.percentile:g} of {len(ids):,} samples")
        larger = self.counted(larger.map(judge=self.judge, length=self.length, only=various))
        judged = np.intersect1d(various, larger.valid("judge", "length"))
        rated, quality, unrated = rated_by(larger, self.judge, judged, self.max_unrated)
        length = length_score(larger.values("length", judged), self.full_length)
        score = self.quality_weight * quality + (1 - self.quality_weight) * length[np.isin(judged, rated)]
        best = rated[ranked(score)]
        # A share is of what there was to select from before it grew; a number or tokens are of all there is now.
        kept = self.within(pool if self.budget.endswith("%") else larger, lambda k: best[:k])
        parent, number = larger.lineage()
        return larger.select(
            kept,
            score=(rated, score),
            reasons={
                "not embedded": np.arange(larger.samples),
                f"variety: row variance not above percentile {self.percentile:g}": ids,
                "quality: beyond the budget": various,
                "unusual, and among the best judged": kept,
                **unrated,
            },
            details={
                "parent": (np.arange(larger.samples), parent),
                "round": (np.arange(larger.samples), number),
                "variance": (ids, found.values),
                "judge_score": (rated, quality),
                "length_score": (judged, length),
            },
            facts={
                **{f"round {place}": flat(counts) for place, counts in enumerate(larger.facts.get("rounds", ()), 1)},
                "components": found.components,
                "variance_cut": cut.value,
                "unrated": {reason: len(held) for reason, held in unrated.items()},
            },
            vector="embed",
        )

    def _grown(self, pool: Pool) -> Pool:
        """The pool after all rounds, or after the first one that has nothing to start from."""
        larger = pool
        for number in range(self.rounds):
            ids = np.flatnonzero(larger.lineage().round == (number if self.start == "previous" else 0))
            if not len(ids):
                break
            # The same samples asked about once more, with the same seed, would have the same answers.
            seed = self.rewrite.seed + (number if self.start == "original" else 0)
            larger = larger.grow(rewrite=replace(self.rewrite, seed=seed), respond=self.respond, only=ids)
            self._refuse_lost(larger.facts["rounds"][-1])
        return larger

    def _refuse_lost(self, counts: Mapping[str, Any]) -> None:
        """Raises Unanswered where a round lost too much of what it was to make."""
        limit = f"max_lost={self.max_lost:g}"
        for field, asking, asked, not_made in (
            ("rewrite", self.rewrite, counts["asked"], counts["not_rewritten"]),
            ("respond", self.respond, counts["rewritten"], counts["not_answered"]),
        ):
            if sum(not_made.values()) > self.max_lost * asked:
                raise Unanswered(refusal(field, asking, limit, asked, not_made, {}))


def flat(counts: Mapping[str, Any]) -> dict[str, int]:
    """A round's counts without nesting."""
    plain = {name: count for name, count in counts.items() if not isinstance(count, Mapping)}
    nested = [(name, inner) for name, inner in counts.items() if isinstance(inner, Mapping)]
    return plain | {f"{name}: {reason}": count for name, inner in nested for reason, count in inner.items()}
