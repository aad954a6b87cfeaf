"""InstructMining: Instruction Data Selection for Tuning Large Language Models (Cao, Kang, Sun et al., COLM 2024, arXiv
2307.06290).

1. Measure the indicators of every sample that the rule has: reward, naturalness, coherence, understandability ...
2. The rule predicts the log of the loss of a model that is fine-tuned on such samples, as a sum of the indicators.
3. Rank the samples by the predicted loss, lowest first.
4. Keep the best: as many as the budget says, or as many as make the best model, which BlendSearch finds by fine-tunes.

Before use: the coefficients belong to the models that measured the indicators, and to the base and the held-out samples
of the fit. With other models fit a rule of your own (`winnow fit-rule`). A rule is fitted on means of sets and applied
to single samples. In the published rule understandability raises the predicted loss, for which the paper gives no
reason. Ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Ranking, Reads, Recipe, Selection, Step
from jobs.methods.instructmining.indicators import LLAMA, Indicators, measured
from jobs.methods.instructmining.rules import PUBLISHED, Models, note_rule, rule_named, rule_refusals
from jobs.methods.instructmining.size import Sized
from operators.base import STRICT
from operators.turns import Turns


@dataclass(frozen=True, config=STRICT)
class InstructMining(Indicators, Sized, Recipe):
    """Keep the samples with the lowest loss that a rule of their indicators predicts."""

    published: ClassVar = {
        "budget": "2532",
        "turns": "single",
        "train.base.name": LLAMA.name,
        "embed.precision": "float32",
        "embed.stored": "float32",
    }
    needs: ClassVar = ("train.base, a model to train (with size=search)",)

    budget: Budget = "2.5%"
    """As published, the 2,532 that the search found for 100,000 samples of OpenOrca."""
    rule: str = "v3"
    """v3: reward, understandability, naturalness and coherence. v1, of the first version of the paper: reward, length
    and distance to the sixth neighbour. Or the path of a rule.json that `winnow fit-rule` wrote."""
    models: Models = "as fitted"
    """as fitted: models other than those of the rule are refused. vouched: any are accepted, such as copies."""
    turns: Literal["last", "single"] = "last"
    """Samples of several turns, which the paper does not mention. last: the last response is scored, given the turns
    before it. single: they are not selected."""

    def refusals(self) -> Iterator[str]:
        """Refuses a rule that is not there, or was fitted with other models, and a search without its files."""
        yield from rule_refusals(self.rule, self, self.models)
        yield from self.size_refusals()

    def steps(self) -> dict[str, Step]:
        """The indicators of the rule, and what the search reads and trains."""
        read: dict[str, Step] = {} if self.rule in PUBLISHED else {"rule": Reads(self.rule)}
        turns: dict[str, Step] = {"turns": Turns()} if self.turns == "single" else {}
        counted: dict[str, Step] = {"tokens": self.tokens} if self.budget.startswith("tokens:") else {}
        indicators = self.operators(rule_named(self.rule).coefficients)
        return {**read, **counted, **turns, **indicators, **self.size_steps()}

    def select(self, pool: Pool) -> Selection:
        """Predicts the loss of every sample, and keeps the lowest."""
        rule = rule_named(self.rule)
        note_rule(self.rule, pool.session)
        wanted = pool if self.turns == "last" else pool.map(turns=Turns()).below("turns", 2)
        scored, facts = measured(wanted, self, rule.coefficients)
        predicted = rule.predicted({name: scored.values(name) for name in rule.coefficients})
        scored = scored.bind(quality=-predicted).having("quality")
        kept, found = self._kept(pool, scored.ranked("quality"))
        return pool.selection(
            kept,
            score="quality",
            because={
                **({"several turns": pool - wanted} if self.turns == "single" else {}),
                "a higher predicted loss than the kept ones": scored,
                "among the lowest predicted losses": kept,
            },
            details={name: scored.column(name) for name in rule.coefficients},
            facts={"rule": rule.provenance, "coefficients": dict(rule.coefficients), **facts, **found},
            vector="embed" if "knn" in rule.coefficients else None,
        )

    def spends_budget(self) -> bool:
        """Whether the budget, and not the search, says how many samples are kept."""
        return self.size == "budget"

    def _kept(self, pool: Pool, ranking: Ranking) -> tuple[Ranking, dict[str, object]]:
        """The best of the ranking, and facts of the search for how many."""
        if self.size == "budget":
            return self.within(pool, ranking), {}
        size, facts = self.best_size(pool, ranking)
        return ranking[:size], facts
