"""LIFT (arXiv 2312.11508): broaden the data by rewriting it, then select for variety and for quality.

1. In each round a language model rewrites instructions and answers them; what is new and whole joins the pool.
2. Variety: keep the samples with the highest row variance of their embeddings.
3. Quality: a judge rates these. Keep the best by 0.9 times the judge's score and 0.1 times a length score.

Before use: the prompts are ours. Samples are joined by id; the released code joins by position, where one failed
embedding shifts all after it. A failed request counts as an error; the code loses it silently. Ties go by id.
"""

from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Recipe, Selection, Step, Values
from jobs.engine.terminal.errors import NothingSelected
from jobs.methods.replies import counted, rated_by
from jobs.methods.rounds import Start, grown, round_facts
from operators.asking.judge import Judge
from operators.asking.prompt import Prompt
from operators.asking.respond import Respond
from operators.asking.rewrite import Rewrite
from operators.base import STRICT
from operators.characters import Characters
from operators.embedding.embed import Embed
from operators.kernels.row_variance import Components, Signs, length_score, percentile_cut, row_variance


@dataclass(frozen=True, config=STRICT)
class LIFT(Recipe):
    """Rewrite and answer, keep the unusual, and of these the best."""

    published: ClassVar = {
        "budget": "10000", "rewrite.model.name": "gpt-3.5-turbo", "rewrite.form": "published", "judge.temperature": 0.5,
        "respond.model.name": "gpt-3.5-turbo", "embed.precision": "float32", "embed.stored": "float32",
        "components": "one_fewer", "signs": "projections", "judge.model.name": "gpt-4", "judge.form": "lift",
    }  # fmt: skip

    budget: Budget = "50%"
    """50 % is the paper's 10,000 for 20,000 samples; per cent are of the samples before they were rewritten."""
    rewrite: Rewrite = Rewrite()
    """The rewriter; `rewrite.prompt.name` lift_rewrite_code is for code. Several turns become one instruction. A reply
    with a lead-in is read, one with two inputs counted; as published it is split at "input:", or lost with two."""
    respond: Respond = Respond(temperature=0.5)
    """The model that answers the new instructions."""
    rounds: int = Limits(default=2, ge=0)
    """The number of rounds, which the paper leaves open."""
    start: Start = "previous"
    """What a round rewrites: the samples of the round before, or the originals each time with another seed. The paper
    has the originals' outputs generated anew before; its code does not, and neither does this recipe."""
    embed: Embed = Embed(text="<INST> {instruction} </INST> {response}")
    """The embedding, in place of text-embedding-ada-002, which only its vendor runs."""
    explained: float = Limits(default=0.95, gt=0, le=1)
    """The share of the variance that the principal axes explain."""
    components: Components = "reach"
    """As many axes as reach `explained`; as published one fewer."""
    signs: Signs = "loadings"
    """How axes are turned, which the scores depend on: by loadings, or as published as older scikit-learn did."""
    percentile: float = Limits(default=80.0, ge=0, lt=100)
    """The percentile of row variance that a sample has to be strictly above."""
    judge: Judge = Judge(prompt=Prompt("lift_judge"), lowest=0.0, highest=100.0, step=1.0)
    """The judge of the variety part. A reply without a score is dropped and counted; as published it is 0."""
    length: Characters = Characters(text="{instruction}{response}", uncounted="\n\t")
    """How the length of a sample is counted."""
    full_length: float = Limits(default=98.0, ge=0, le=100)
    """The percentile of length from which on the length score is 100."""
    quality_weight: float = Limits(default=0.9, ge=0, le=1)
    """The weight of the judge's score; the length score has the rest."""
    max_unrated: float = Limits(default=0.2, ge=0, le=1)
    """The share of the judge's replies that may hold no score before the run fails."""
    max_lost: float = Limits(default=0.5, ge=0, le=1)
    """The share of what a round rewrites or answers that may be lost before the run fails."""

    def steps(self) -> dict[str, Step]:
        """Nothing is rewritten where there is no round."""
        skipped = () if self.rounds else ("rewrite", "respond")
        return {name: step for name, step in super().steps().items() if name not in skipped}

    def counted(self, pool: Pool) -> Pool:
        """The pool as it is: tokens are counted of the larger one."""
        return pool

    def select(self, pool: Pool) -> Selection:
        """Rounds of rewriting, the variety part, and the best of it."""
        larger = grown(pool, self.rewrite, self.respond, self.rounds, self.start, self.max_lost)
        larger = super().counted(larger)
        embedded = larger.map(embed=self.embed)
        axes = {name: getattr(self, name) for name in ("explained", "components", "signs")}
        found = embedded.reduce(row_variance, "embed", **axes)
        embedded = embedded.bind(variance=found.values)
        various = embedded.above("variance", percentile_cut(found.values, self.percentile).value)
        if not len(various):
            raise NothingSelected(f"no row variance of {len(embedded):,} is above percentile {self.percentile:g}")
        judged = various.map(judge=self.judge, length=self.length)
        judged = judged.bind(length_score=length_score(judged.values("length"), self.full_length))
        rated, unrated = rated_by(judged, self.judge, self.max_unrated)
        judge, length = rated.values("judge.score"), rated.values("length_score")
        rated = rated.bind(quality=self.quality_weight * judge + (1 - self.quality_weight) * length)
        # A share is of what there was to select from before it grew; a number or tokens are of all there is now.
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
                "parent": Values(larger.ids, parent),
                "round": Values(larger.ids, number),
                "judge_score": rated.column("judge.score"),
                **{name: part.column(name) for name, part in (("variance", embedded), ("length_score", judged))},
            },
            facts={**round_facts(larger), "components": found.components, "unrated": counted(unrated)},
            vector="embed",
        )
