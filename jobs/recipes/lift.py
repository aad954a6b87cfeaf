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
- A reply of the judge without a score is dropped and counted; `--as-published` makes it 0, as the code does.
- `percentile` is strict: where many variances tie with it, fewer are kept. Ties of the final score go by id.
- `budget` is 50 %, the paper's 10,000 for 20,000 samples; per cent are of the samples before they were rewritten.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.errors import NothingSelected
from jobs.engine.pool import Pool
from jobs.engine.recipe import Budget, Recipe
from jobs.engine.selection import Selection
from operators.base import STRICT, Operator
from operators.characters import Characters
from operators.embed import Embed
from operators.judge import Judge
from operators.kernels.ranking import ranked
from operators.kernels.row_variance import Components, Signs, length_score, percentile_cut, row_variance
from operators.prompt import Prompt
from operators.respond import Respond
from operators.rewrite import Rewrite


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

    def operators(self) -> dict[str, Operator]:
        """Nothing is rewritten where there is no round."""
        declared = super().operators()
        return declared if self.rounds else {name: declared[name] for name in declared.keys() - {"rewrite", "respond"}}

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
        quality, outcomes = larger.values("judge.score", judged), larger.values("judge.outcome", judged)
        length = length_score(larger.values("length", judged), self.full_length)
        rated = np.isfinite(quality)
        score = self.quality_weight * quality[rated] + (1 - self.quality_weight) * length[rated]
        best = judged[rated][ranked(score)]
        # A share is of what there was to select from before it grew; a number or tokens are of all there is now.
        kept = self.within(pool if self.budget.endswith("%") else larger, lambda k: best[:k])
        unrated = {
            f"the judge's reply holds no score: {outcome}": judged[(outcomes == outcome) & ~rated]
            for outcome in sorted(set(outcomes[~rated]))
        }
        parent, number = larger.lineage()
        return larger.select(
            kept,
            score=(judged[rated], score),
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
                "judge_score": (judged, quality),
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
        return larger


def flat(counts: Mapping[str, Any]) -> dict[str, int]:
    """A round's counts without nesting."""
    plain = {name: count for name, count in counts.items() if not isinstance(count, Mapping)}
    nested = [(name, inner) for name, inner in counts.items() if isinstance(inner, Mapping)]
    return plain | {f"{name}: {reason}": count for name, inner in nested for reason, count in inner.items()}
