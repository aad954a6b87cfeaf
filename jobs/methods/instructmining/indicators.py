"""The indicators of InstructMining: what is measured of each sample, and which rules of quality are sums of.

| name | what it is |
|---|---|
| rew | the reward of the response |
| len_in, len_out | the number of tokens of the instruction, and of the response |
| ppl | the perplexity of the response, given the instruction |
| mtld | the lexical diversity of the response |
| knn | the distance to the i-th nearest neighbour of the sample, among all of the pool |
| nat, coh, und | how natural, coherent and understandable the response is |
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.series import narrow
from jobs.engine.pool.subset import Subset
from jobs.engine.record.declarations import plain
from operators.base import STRICT, Operator
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.kernels.neighbours import Neighbours, neighbours
from operators.lexical_diversity import LexicalDiversity
from operators.losses.loss import Loss
from operators.scoring.reward import Reward
from operators.scoring.unieval import UniEval
from operators.tokens import Tokens

PYTHIA = Checkpoint("OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5")
LLAMA = Checkpoint("meta-llama/Llama-2-7b-hf")

COLUMNS = {
    "rew": ("reward", "reward.reward"),
    "len_in": ("length_in", "length_in"),
    "len_out": ("length_out", "length_out"),
    "ppl": ("loss", "loss.nll_mean"),
    "mtld": ("diversity", "diversity"),
    "knn": ("embed", "embed"),
    "nat": ("unieval", "unieval.naturalness"),
    "coh": ("unieval", "unieval.coherence"),
    "und": ("unieval", "unieval.understandability"),
}
"""For each indicator the operator, which is a field of `Indicators`, and the column that it is taken from."""


@dataclass(frozen=True, config=STRICT)
class Indicators:
    """How the indicators are measured. Only those that a rule has are."""

    reward: Reward = Reward(model=PYTHIA, pair="chat")
    """The reward model of `rew`. The paper's is a Pythia that was trained on Open-Assistant's data; docs/models.md says
    how its weights are converted."""
    unieval: UniEval = UniEval()
    """The model of `nat`, `coh` and `und`. The last response of several turns is scored, given all before it. An empty
    response is an error, where the released scorer gives it a number; a long input is cut, and flagged."""
    embed: Embed = Embed()
    """The embedding of `knn`, of the instruction and the response. The distance is Euclidean, between unit vectors."""
    neighbour: int = Limits(default=6, ge=1)
    """Which neighbour `knn` is the distance to. Of copies, each is a neighbour of the others, at distance 0."""
    length_in: Tokens = Tokens(model=LLAMA, text="{instruction}")
    """The tokens of `len_in`, by the tokenizer of the base model."""
    length_out: Tokens = Tokens(model=LLAMA, text="{response}")
    """The tokens of `len_out`. A third party's code for the first version counts the prompt too."""
    loss: Loss = Loss(LLAMA)
    """The model of `ppl`: the base, given the instruction, over the tokens of the response and its end."""
    diversity: LexicalDiversity = LexicalDiversity()
    """The lexical diversity of `mtld`. A text without spaces between words is segmented first."""

    def operators(self, names: Iterable[str]) -> dict[str, Operator]:
        """The operators of these indicators, by field, in the order of the fields."""
        wanted = {COLUMNS[name][0] for name in names}
        return {name: value for name, value in vars(self).items() if name in wanted}

    def operator(self, name: str) -> Any:
        """The operator of an indicator."""
        return getattr(self, COLUMNS[name][0])

    def identity(self, name: str) -> dict[str, Any]:
        """What an indicator's values follow from, as JSON can hold it; ModelMissing where its model is not there."""
        operator = self.operator(name)
        found = {"operator": type(operator).__name__, "version": operator.version, "fields": plain(operator)}
        chosen = {"neighbour": self.neighbour} if name == "knn" else {}
        return {**found, "fingerprint": operator.fingerprint(), **chosen}


def measured(pool: Subset, indicators: Indicators, names: Iterable[str]) -> tuple[Subset, dict[str, Any]]:
    """The samples that have a value of every indicator, with a column for each, and facts about `knn`."""
    names = list(names)
    having = pool.map(**indicators.operators(names))
    columns, facts = {}, {}
    for name in names:
        if name == "knn":
            found: Neighbours = having.reduce(neighbours, "embed", i=indicators.neighbour)
            columns[name] = found.distances
            facts = {"neighbour of knn": found.i, "recall of knn": found.recall}
        else:
            column, _, field = COLUMNS[name][1].partition(".")
            values = having.columns[column].stored().values(having.ids, field)  # which keeps none of them in memory
            with np.errstate(over="ignore"):
                columns[name] = np.exp(values, dtype=np.float64) if name == "ppl" else narrow(values)
    return having.bind(**columns).having(*names), facts
