"""What a judge's reply says of several variants in one prompt: a score by bracketed index, and what follows from it.

    [2] Score: 5
    [1] Score: 3        rankings(reply, 2).scores == (3, 5)

DEITA (Liu et al. 2024, section 2) has ChatGPT score six variants of one sample beside one another. Lines are joined
by their index: a preamble, a blank line or another order does not move a score to another variant. The
variants are shown in a seeded random order, against the judge's liking for places; a repeated question takes another.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from operators.asking.ratings import answers

Value = TypeVar("Value")

LOWEST, HIGHEST = 1, 6
RETRIES = 2
FEWEST = 4

_LIGHT = r"[\s*_`]*"
# A whole number, what it is out of, and words that make it no other number.
SAID = re.compile(
    r"(?P<score>[-+−]?\d{1,9})(?:\s*[/／]\s*(?P<scale>\d{1,9}))?(?:\s*[分点점])?"
    r"(?:[^\w/／+%％][^\d¼-¾⅐-⅞]*)?"
)


@dataclass(frozen=True)
class Ranking:
    """The scores of the variants in the order in which they were shown."""

    scores: tuple[int | None, ...]
    outcomes: tuple[str, ...]
    """"" or `duplicate` where there is a score (the last of several); else `empty`, `unfinished`, `missing`,
    `not_integer`, `other_scale`, `out_of_range`, or `misnumbered` where the reply has an index that was not shown."""

    @property
    def scored(self) -> int:
        """How many variants have a score."""
        return sum(score is not None for score in self.scores)

    @property
    def flat(self) -> bool:
        """Whether all scores there are, two or more, are the same, so that they rank nothing."""
        return self.scored > 1 and len({score for score in self.scores if score is not None}) == 1


Step = Literal["keep", "flat", "retry", "drop_variants", "drop_seed"]


def rankings(reply: str, count: int, dimension: str = "", finished: bool = True) -> Ranking:
    """The scores, 1 to 6, of `count` variants from lines like `[2] Score: 5`; ValueError for a count below 1.

    The dimension that was asked for may stand in the place of the word "score" or beside it. A score may say what it
    is out of, the highest or one less (DEITA's rubric goes to 5 and leaves 6 for what is beyond the judge). A sample
    may be quoted within a sentence: a line that does not begin with an index is not read, and neither is the line
    that a reply which is not finished was cut in.
    """
    if count < 1:
        raise ValueError(f"a ranking has one variant or more, not {count}")
    reply = reply if finished else reply[: max(reply.rfind("\n"), 0)]
    if not reply.strip():
        return _without_scores("empty" if finished else "unfinished", count)
    possible = answers(reply)
    if not possible:
        return _without_scores("unfinished", count)
    lines = [found for found in map(_line(dimension).match, possible[-1].splitlines()) if found]
    if any(not 1 <= int(found["index"]) <= count for found in lines):
        return _without_scores("misnumbered", count)
    read: dict[int, tuple[int | None, str]] = {}
    for found in lines:
        index = int(found["index"])
        score, outcome = _score(found["said"])
        read[index] = (score, "duplicate" if index in read and score is not None else outcome)
    each = [read.get(index, (None, "missing")) for index in range(1, count + 1)]
    return Ranking(tuple(score for score, _ in each), tuple(outcome for _, outcome in each))


def step(ranking: Ranking, retries: int) -> Step:
    """What follows from a ranking that was asked for again `retries` times.

    keep, flat (which ranks nothing: a flag) and drop_variants keep the variants that have a score; drop_seed keeps
    none, for fewer than FEWEST have one (where fewer are shown: not all).
    """
    complete = ranking.scored == len(ranking.scores)
    if not complete and retries < RETRIES:
        return "retry"
    if ranking.scored < min(FEWEST, len(ranking.scores)):
        return "drop_seed"
    if ranking.flat:
        return "flat"
    return "keep" if complete else "drop_variants"


def shuffled(count: int, seed_material: str) -> tuple[int, ...]:
    """A permutation of 0…count-1: which variant is shown at each place. The same for the same seed material.

    seed_material: what tells one question from another, such as the seed, the sample's hash and the retry.
    """
    if count < 1:
        raise ValueError(f"there is one variant or more to shuffle, not {count}")
    return tuple(sorted(range(count), key=lambda at: hashlib.sha256(f"{seed_material}\0{at}".encode()).digest()))


def unshuffled(shown: Sequence[Value], order: Sequence[int]) -> list[Value]:
    """Values by variant of values by place; order: as `shuffled` gives it. ValueError where they do not fit."""
    if sorted(order) != list(range(len(shown))):
        raise ValueError(f"{list(order)} is not a permutation of {len(shown)} places")
    by_variant = dict(zip(order, shown, strict=True))
    return [by_variant[variant] for variant in range(len(shown))]


@functools.cache
def _line(dimension: str) -> re.Pattern[str]:
    asked = re.escape(dimension)
    label = rf"score(?:{_LIGHT}(?:of|for){_LIGHT}{asked})?|{asked}(?:{_LIGHT}(?:score|rating))?" if asked else "score"
    return re.compile(
        rf"^[\s*_`>#•-]*[\[［](?P<index>\d{{1,9}})[\]］]{_LIGHT}(?:[:：]{_LIGHT})?"
        rf"(?:{label}){_LIGHT}[:：]{_LIGHT}(?P<said>.*)$",
        re.IGNORECASE,
    )


def _without_scores(outcome: str, count: int) -> Ranking:
    return Ranking((None,) * count, (outcome,) * count)


def _score(said: str) -> tuple[int | None, str]:
    found = SAID.fullmatch(said.strip())
    if found is None:
        return None, "not_integer"
    if found["scale"] is not None and int(found["scale"]) not in (HIGHEST, HIGHEST - 1):
        return None, "other_scale"
    score = int(found["score"].replace("−", "-"))
    return (score, "") if LOWEST <= score <= HIGHEST else (None, "out_of_range")
