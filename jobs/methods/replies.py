"""What a model's replies are worth: a judge's ratings, and the end of a run in which too many replies hold nothing."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.terminal.errors import Unanswered
from operators.asking.asking import ROOM, Asking
from operators.asking.judge import Judge

EXAMPLES = 3
SHOWN = 120
UNFINISHED = "unfinished"


class Rated(NamedTuple):
    """A judge's ratings of some samples."""

    ids: np.ndarray
    """Those that have one, ascending; (rated,) int64."""
    scores: np.ndarray
    """(rated,) float64, aligned with them."""
    unrated: Mapping[str, np.ndarray]
    """The ids of the others by the reason to give for them."""


def rated_by(pool: Pool, judge: Judge, ids: np.ndarray, max_unrated: float) -> Rated:
    """The ratings in the column `judge` of these ids, which have a value in it.

    Unanswered where more than the share `max_unrated` of the replies hold none; a published reading, which makes a
    number of some of them, has them counted all the same.
    """
    scores, outcomes = pool.values("judge.score", ids), pool.values("judge.outcome", ids)
    lost = np.array([bool(outcome) for outcome in outcomes], bool)
    if lost.sum() > max_unrated * len(ids):
        found = Counter(outcomes[lost])
        words = [outcome for outcome, _ in found.most_common(EXAMPLES)]
        firsts = np.array([ids[outcomes == outcome][0] for outcome in words])
        examples = dict(zip(words, pool.values("judge.reply", firsts).tolist(), strict=True))
        raise Unanswered(refusal("judge", judge, f"max_unrated={max_unrated:g}", len(ids), found, examples))
    known = np.isfinite(scores) | ~lost
    unrated = {
        f"the judge's reply holds no rating: {outcome}": ids[(outcomes == outcome) & ~known]
        for outcome in sorted(set(outcomes[~known]))
    }
    return Rated(ids[known], scores[known], unrated)


def refusal(
    field: str, asking: Asking, limit: str, replies: int, lost: Mapping[str, int], examples: Mapping[str, str]
) -> str:
    """Why a run ends: how many of the replies are lost, by outcome, what the first ones say, and what to set.

    field: the recipe's, that declares who is asked; limit: its field for the share that may be lost, as it is set;
    examples: a reply by outcome.
    """
    count = sum(lost.values())
    words = sorted(lost, key=lambda word: (-lost[word], word))
    told = ", ".join(f"{word} {lost[word]:,}" for word in words)
    shown = "".join(f"\n  {word}: {excerpt(examples[word])}" for word in words if word in examples)
    room = ""
    if lost.get(UNFINISHED):
        now, more = asking.max_tokens, max(ROOM, 4 * asking.max_tokens)
        room = f" For the unfinished ones {field}.max_tokens={now} was too little: set {field}.max_tokens={more}."
    enough = math.ceil(100 * count / replies) / 100
    return (
        f"{field}: {count:,} of {replies:,} replies are of no use, more than {limit} allows: {told}.{shown}\n"
        f"The replies are kept.{room} Change the prompt or the model, or set {limit.partition('=')[0]}={enough:g} to "
        "go on without them"
    )


def excerpt(reply: str) -> str:
    """The beginning of a reply, on one line."""
    line = " ".join(reply.split())
    return f"{line[:SHOWN]} …" if len(line) > SHOWN else line or "(nothing)"
