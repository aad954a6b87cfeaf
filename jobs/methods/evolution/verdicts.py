"""The judge's scores of chains of variants. A chain is asked about again where scores are missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.terminal.errors import Unanswered
from jobs.methods.evolution.declaration import Evolution
from jobs.methods.evolution.rewriting import asked as asked_of
from jobs.methods.replies import refusal
from operators.asking.rankings import RETRIES, VariantScores
from operators.asking.rankings import step as next_step


@dataclass(frozen=True)
class Verdicts:
    """The judge's scores of the chains."""

    rankings: Mapping[int, VariantScores]
    """The best ranking of each chain that has one, by id."""
    words: np.ndarray
    """(chains,) str: keep, flat, drop_variants, drop_seed, too_short or not_rated."""
    attempts: Sequence[Mapping[str, int]]
    """The counts of each attempt: chains asked about, failed, and to ask about again."""

    @property
    def kept(self) -> np.ndarray:
        """The ids of the chains that become pairs; int64, ascending."""
        return np.flatnonzero(np.isin(self.words, ("keep", "flat", "drop_variants")))


def rated_chains(chains: Pool, wanted: Evolution, lengths: np.ndarray) -> Verdicts:
    """The judge's scores of the chains that have enough variants.

    lengths: (chains,) the number of variants of each chain. A chain with missing scores is asked about again, at most
    RETRIES times; the attempt with the most scores counts. Unanswered where too many chains have too few scores.
    """
    best: dict[int, VariantScores] = {}
    attempts: list[dict[str, int]] = []
    long_enough = lengths >= wanted.shortest
    asked = chains[long_enough]
    first = asked[:0]
    for attempt in range(RETRIES + 1):
        column = f"rated_{attempt}"
        if attempt:  # where a repeated question fails, the scores of the earlier attempt remain
            asked = replace(asked, session=replace(chains.session, max_errors=1.0))
        rated = asked_of("judge", asked, column, wanted.comparison(attempt))
        first = first if attempt else rated
        again: list[int] = []
        for chain, value in zip(rated.ids.tolist(), rated.values(column), strict=True):
            ranking = VariantScores(tuple(value["scores"]), tuple(value["outcomes"]))
            if chain not in best or ranking.scored > best[chain].scored:
                best[chain] = ranking
            if next_step(ranking, attempt).startswith("retry"):
                again.append(chain)
        attempts.append({"asked": len(asked), "failed": len(asked) - len(rated), "to_ask_again": len(again)})
        asked = chains[np.array(again, np.int64)]
        if not again:
            break
    words = np.where(long_enough, "not_rated", "too_short").astype(object)
    for chain, ranking in best.items():
        words[chain] = next_step(ranking, RETRIES)
    _refuse_unrated(wanted, first, best, words)
    return Verdicts(best, words, attempts)


def _refuse_unrated(wanted: Evolution, rated: Subset, best: Mapping[int, VariantScores], words: np.ndarray) -> None:
    """Raises Unanswered where the judge scored too few variants of too many chains."""
    dropped = np.flatnonzero(words == "drop_seed")
    if len(dropped) > wanted.max_unrated * len(best):
        why = [best[chain].outcomes[best[chain].scores.index(None)] for chain in dropped.tolist()]
        firsts = {word: dropped[why.index(word)] for word in sorted(set(why))}
        examples = {word: str(rated[np.array([chain])].values("rated_0.reply")[0]) for word, chain in firsts.items()}
        limit = f"max_unrated={wanted.max_unrated:g}"
        raise Unanswered(refusal("judge", wanted.judge, limit, len(best), Counter(why), examples))
