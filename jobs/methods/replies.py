"""The ratings in a judge's replies, and the refusal of a run in which too many replies are of no use."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jobs.engine.pool.subset import Subset
from jobs.engine.terminal.errors import Unanswered
from operators.asking.asking import ROOM, Asking
from operators.asking.judge import Judge
from operators.kernels.words import different, numbered

EXAMPLES = 3
SHOWN = 120
UNFINISHED = "unfinished"


class Rated(NamedTuple):
    """Some samples, separated by whether the judge has rated them."""

    rated: Subset
    """The samples with a rating, with the column `judge`."""
    unrated: Mapping[str, Subset]
    """The samples without a rating, by the reason to give for them."""


def rated_by(judged: Subset, judge: Judge, max_unrated: float) -> Rated:
    """Separates samples by whether their replies, in the column `judge`, contain a rating.

    Unanswered where more than the share `max_unrated` of the replies contain none. The forms of the released codes give
    a number to some replies without a rating. They count as replies without one here, and as rated in the result.
    """
    words = judged.reduce(different, "judge.outcome")
    outcomes = judged.reduce(numbered, "judge.outcome", names=words)
    lost = outcomes != (words.index("") if "" in words else -1)
    found = {word: int(count) for word, count in zip(words, np.bincount(outcomes, minlength=len(words)), strict=True)}
    found.pop("", None)
    if sum(found.values()) > max_unrated * len(judged):
        most = sorted(found, key=lambda word: (-found[word], int(np.argmax(outcomes == words.index(word)))))
        examples = {
            word: str(judged[outcomes == words.index(word)][:1].values("judge.reply")[0]) for word in most[:EXAMPLES]
        }
        raise Unanswered(refusal("judge", judge, f"max_unrated={max_unrated:g}", len(judged), found, examples))
    known = np.isfinite(judged.values("judge.score")) | ~lost
    unrated = {
        f"the judge's reply contains no rating: {words[number]}": judged[(outcomes == number) & ~known]
        for number in np.unique(outcomes[~known]).tolist()
    }
    return Rated(judged[known], unrated)


def unrated_facts(unrated: Mapping[str, Subset]) -> dict[str, Any]:
    """Facts about the samples without a rating: their number by reason, and a reply for each of the first reasons."""
    shown = sorted(unrated, key=lambda reason: (-len(unrated[reason]), reason))[:EXAMPLES]
    replies = {reason: excerpt(str(unrated[reason][:1].values("judge.reply")[0])) for reason in shown}
    return {
        "unrated": {reason: len(samples) for reason, samples in unrated.items()},
        **({"replies without a rating": replies} if replies else {}),
    }


def refusal(
    field: str, asking: Asking, limit: str, replies: int, lost: Mapping[str, int], examples: Mapping[str, str]
) -> str:
    """The message of a run that stops because too many replies are of no use.

    It has the number of these replies per outcome, examples, and what to set. field: the recipe's field that declares
    the model. limit: the recipe's field for the share that may be lost, with its value, such as "max_lost=0.5". lost:
    the number of replies per outcome. examples: one reply per outcome.
    """
    count = sum(lost.values())
    words = sorted(lost, key=lambda word: (-lost[word], word))
    outcomes = ", ".join(f"{word} {lost[word]:,}" for word in words)
    shown = "".join(f"\n  {word}: {excerpt(examples[word])}" for word in words if word in examples)
    room = ""
    if lost.get(UNFINISHED):
        now, more = asking.max_tokens, max(ROOM, 4 * asking.max_tokens)
        room = f" For the unfinished ones {field}.max_tokens={now} was too low: set {field}.max_tokens={more}."
    enough = math.ceil(100 * count / replies) / 100
    return (
        f"{field}: {count:,} of {replies:,} replies are of no use, more than {limit} allows: {outcomes}.{shown}\n"
        f"The replies are kept.{room} Change the prompt or the model, or set {limit.partition('=')[0]}={enough:g} to "
        "continue without them"
    )


def excerpt(reply: str) -> str:
    """The first SHOWN characters of a reply, on one line."""
    line = " ".join(reply.split())
    return f"{line[:SHOWN]} …" if len(line) > SHOWN else line or "(nothing)"
