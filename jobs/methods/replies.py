"""What a model's replies are worth: a judge's ratings, and the end of a run in which too many replies hold nothing."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jobs.engine.pool.subset import Subset
from jobs.engine.terminal.errors import Unanswered
from operators.asking.asking import ROOM, Asking
from operators.asking.judge import Judge

EXAMPLES = 3
SHOWN = 120
UNFINISHED = "unfinished"


class Rated(NamedTuple):
    """A judge's ratings of some samples."""

    rated: Subset
    """Those that have one, with the column `judge`."""
    unrated: Mapping[str, Subset]
    """The others, by the reason to give for them."""


def rated_by(judged: Subset, judge: Judge, max_unrated: float) -> Rated:
    """The ratings in the column `judge` of these samples.

    Unanswered where more than the share `max_unrated` of the replies hold none. A published reading makes a number of
    some of these; they are counted all the same.
    """
    scores, outcomes = judged.values("judge.score"), judged.values("judge.outcome")
    lost = np.array([bool(outcome) for outcome in outcomes], bool)
    if lost.sum() > max_unrated * len(judged):
        found = Counter(outcomes[lost])
        examples = {
            outcome: str(judged[outcomes == outcome][:1].values("judge.reply")[0])
            for outcome, _ in found.most_common(EXAMPLES)
        }
        raise Unanswered(refusal("judge", judge, f"max_unrated={max_unrated:g}", len(judged), found, examples))
    known = np.isfinite(scores) | ~lost
    unrated = {
        f"the judge's reply holds no rating: {outcome}": judged[(outcomes == outcome) & ~known]
        for outcome in sorted(set(outcomes[~known]))
    }
    return Rated(judged[known], unrated)


def counted(unrated: Mapping[str, Subset]) -> dict[str, int]:
    """How many samples there are for each reason."""
    return {reason: len(samples) for reason, samples in unrated.items()}


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
