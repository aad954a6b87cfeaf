"""LIFT (arXiv 2312.11508): extend the data by rewriting, then select for variety and for quality.

1. In each round, a language model rewrites instructions and answers them. Complete new samples are added to the pool.
2. Variety: keep the samples with the highest row variance of their embeddings.
3. Quality: a judge rates these. Keep the best by 0.9 times the judge's score plus 0.1 times a length score.

Before use: the prompts are Winnow's own. Samples are joined by id; the released code joins them by position, where one
failed embedding shifts all later ones. A failed request is an error; the code loses it silently. Ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Recipe, Selection, Series, Step
from jobs.engine.terminal.errors import NothingSelected
from jobs.methods.lift_rounds import Start, grown, round_facts
from jobs.methods.replies import rated_by, unrated_facts
from operators.asking.judge import Judge
from operators.asking.prompt import Prompt
from operators.asking.respond import Respond
from operators.asking.rewrite import Rewrite
from operators.base import STRICT
from operators.characters import Characters
from operators.embedding.embed import Embed
from operators.kernels.percentile import length_score, percentile_cut
from operators.kernels.principal_axes import Components
from operators.kernels.row_variance import Signs, row_variance


# Longer: the pool grows, so that a number of samples cannot be refused before the rounds are done.
@dataclass(frozen=True, config=STRICT)
class LIFT(Recipe):
    """Rewrite and answer samples, keep the unusual ones, and of these the best."""

    published: ClassVar = {
        "budget": "10000", "rewrite.model.name": "gpt-3.5-turbo", "rewrite.form": "published", "judge.temperature": 0.5,
        "respond.model.name": "gpt-3.5-turbo", "embed.precision": "float32", "embed.stored": "float32",
        "components": "one_fewer", "signs": "projections", "judge.model.name": "gpt-4", "judge.form": "lift",
    }  # fmt: skip

    budget: Budget = "50%"
    """50 % is the paper's 10,000 of 20,000 samples. A percentage is of the samples before the rewriting."""
    rewrite: Rewrite = Rewrite()
    """The rewriter; the prompt lift_rewrite_code is for code. Several turns become one instruction. A lead-in is cut,
    a reply with two inputs is one instruction; as published, it is split at "input:", and lost where it has two."""
    respond: Respond = Respond(temperature=0.5)
    """The model that answers the new instructions."""
    rounds: int = Limits(default=2, ge=0)
    """The number of rounds, which the paper leaves open."""
    start: Start = "previous"
    """previous: a round rewrites the samples of the round before. original: it rewrites the original samples, with
    another seed. The paper first generates new responses to the originals; its code and this recipe do not."""
    embed: Embed = Embed(text="<INST> {instruction} </INST> {response}")
    """The embedding. It replaces text-embedding-ada-002, which is available only from its vendor."""
    explained: float = Limits(default=0.95, gt=0, le=1)
    """The share of the variance that the principal axes explain."""
    components: Components = "reach"
    """reach: as many axes as explain this share; as published, one fewer."""
    signs: Signs = "loadings"
    """How the signs of axes, which affect the scores, are set: by loadings; as published, as in old scikit-learn."""
    percentile: float = Limits(default=80.0, ge=0, lt=100)
    """The percentile of row variance that a sample has to be strictly above."""
    judge: Judge = Judge(prompt=Prompt("lift_judge"), lowest=0.0, highest=100.0, step=1.0)
    """The judge. A sample whose reply has no score is dropped and counted; as published, it has the score 0."""
    length: Characters = Characters(text="{instruction}{response}", uncounted="\n\t")
    """The operator that computes the length of a sample."""
    full_length: float = Limits(default=98.0, ge=0, le=100)
    """The percentile of length at and above which the length score is 100."""
    quality_weight: float = Limits(default=0.9, ge=0, le=1)
    """The weight of the judge's score; the length score has the rest."""
    max_unrated: float = Limits(default=0.2, ge=0, le=1)
    """The share of the judge's replies without a score above which the run fails."""
    max_lost: float = Limits(default=0.5, ge=0, le=1)
    """The share of a round's lost instructions or responses above which the run fails."""

    def steps(self) -> dict[str, Step]:
        """The steps; without the rewriter and the answers where there is no round."""
        skipped = () if self.rounds else ("rewrite", "respond")
        return {name: step for name, step in super().steps().items() if name not in skipped}

    def counted(self, pool: Pool) -> Pool:
        """The pool, unchanged: tokens are counted for the grown pool."""
        return pool

    def refusals_of(self, samples: int) -> Iterator[str]:
        """Nothing: a number of samples is of the grown pool, which is not known before."""
        yield from ()

    def select(self, pool: Pool) -> Selection:
        """Runs the rounds of rewriting, selects for variety, and keeps the best of these."""
        larger = super().counted(grown(pool, self.rewrite, self.respond, self.rounds, self.start, self.max_lost))
        embedded = larger.map(embed=self.embed)
        axes = {"explained": self.explained, "components": self.components, "signs": self.signs}
        found = embedded.reduce(row_variance, "embed", **axes)
        embedded = embedded.bind(variance=found.values)
        various = embedded.above("variance", percentile_cut(found.values, self.percentile).value)
        if not len(various):
            raise NothingSelected(f"none of {len(embedded):,} row variances is above percentile {self.percentile:g}")
        judged = various.map(judge=self.judge, length=self.length)
        judged = judged.bind(length_score=length_score(judged.values("length"), self.full_length))
        rated, unrated = rated_by(judged, self.judge, self.max_unrated)
        judge, length = rated.values("judge.score"), rated.values("length_score")
        rated = rated.bind(quality=self.quality_weight * judge + (1 - self.quality_weight) * length)
        # A percentage is of the original pool; a number of samples or tokens is checked against the grown pool.
        kept = self.within(pool if self.budget.endswith("%") else larger, rated.ranked("quality"))
        parent, number = larger.lineage()
        return larger.selection(
            kept,
            score="quality",
            because={
                "variety: row variance too low": embedded,
                "quality: beyond the budget": various,
                "unusual, and among the best judged": kept,
                **unrated,
            },
            details={
                "parent": Series(larger.ids, parent),
                "round": Series(larger.ids, number),
                "judge_score": rated.column("judge.score"),
                **{name: part.column(name) for name, part in (("variance", embedded), ("length_score", judged))},
            },
            facts={**round_facts(larger), "principal axes": found.components, **unrated_facts(unrated)},
            vector="embed",
        )
