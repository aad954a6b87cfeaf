"""The scores in a judge's reply about several variants in one prompt, by bracketed index, and the next step.

    [2] Score: 5
    [1] Score: 3        rankings(reply, 2).scores == (3, 5)

DEITA (Liu et al. 2024, section 2) has ChatGPT score six variants of one sample in one prompt. A score belongs to the
variant whose index is on its line, so a preamble, a blank line or another order does no harm. The variants are shown in
a seeded random order, because judges prefer some positions; a repeated question uses another order.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from operators.asking.ratings import answers
from operators.asking.score_words import TRANSLATED, labels, named
from operators.asking.stated import MORE_LABELS

Value = TypeVar("Value")

LOWEST, HIGHEST = 1, 6
RETRIES = 2
FEWEST = 4

_LIGHT = r"[\s*_`]*"
# A whole number, the scale that it is out of, and words that do not change the number.
SAID = re.compile(
    r"(?P<score>[-+−]?\d{1,9})(?:\s*[/／]\s*(?P<scale>\d{1,9}))?(?:\s*[分点점])?"
    r"(?:[^\w/／+%％][^\d¼-¾⅐-⅞]*)?"
)


@dataclass(frozen=True)
class VariantScores:
    """The scores of the variants, in the order in which they were shown."""

    scores: tuple[int | None, ...]
    outcomes: tuple[str, ...]
    """With a score "", or `duplicate` where it is the last of several. Without one `empty`, `unfinished`, `missing`,
    `not_integer`, `other_scale`, `out_of_range`, or `misnumbered` where the reply has an index that was not shown."""

    @property
    def scored(self) -> int:
        """The number of variants with a score."""
        return sum(score is not None for score in self.scores)

    @property
    def flat(self) -> bool:
        """Whether there are two or more scores and all are equal, so that they rank nothing."""
        return self.scored > 1 and len({score for score in self.scores if score is not None}) == 1


Verdict = Literal["keep", "flat", "retry", "drop_variants", "drop_seed"]


def rankings(reply: str, count: int, dimension: str = "", finished: bool = True) -> VariantScores:
    """The scores, 1 to 6, of `count` variants from lines like `[2] Score: 5`; ValueError for a count below 1.

    The dimension may replace the word "score" or be next to it. Other words for "score", and the number alone, are read
    where a variant has no such line. A score may name its scale, which is the highest score
    or one less: DEITA's rubric goes to 5 and leaves 6 for samples that are beyond the judge. Lines that do not begin
    with an index are not read, as they may quote a sample. finished: False where the reply was cut; its last line is
    then not read.
    """
    if count < 1:
        raise ValueError(f"a ranking has one variant or more, not {count}")
    reply = reply if finished else reply[: max(reply.rfind("\n"), 0)]
    if not reply.strip():
        return _without_scores("empty" if finished else "unfinished", count)
    possible = answers(reply)
    if not possible:
        return _without_scores("unfinished", count)
    read = _read(_line(dimension), possible[-1])
    others = {} if len(read) == count else _read(_other_line(dimension), possible[-1])
    if any(not 1 <= index <= count for index in read or others):
        return _without_scores("misnumbered", count)
    read = {index: score for index, score in others.items() if 1 <= index <= count} | read
    each = [read.get(index, (None, "missing")) for index in range(1, count + 1)]
    return VariantScores(tuple(score for score, _ in each), tuple(outcome for _, outcome in each))


def step(ranking: VariantScores, retries: int) -> Verdict:
    """The next step after a ranking; retries: the number of repetitions of the question so far.

    retry asks again. keep, flat (a flag: the scores rank nothing) and drop_variants keep the variants with a score.
    drop_seed keeps none: fewer than FEWEST variants have a score, or not all where fewer were shown.
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
    """The variant at each place, a permutation of 0…count-1 that depends on the seed material only.

    seed_material: what distinguishes two questions, such as the seed, the hash of the sample and the retry. ValueError
    for a count below 1.
    """
    if count < 1:
        raise ValueError(f"there is one variant or more to shuffle, not {count}")
    return tuple(sorted(range(count), key=lambda at: hashlib.sha256(f"{seed_material}\0{at}".encode()).digest()))


def unshuffled(shown: Sequence[Value], order: Sequence[int]) -> list[Value]:
    """Values by variant; shown: values by place; order: from `shuffled`. ValueError where they differ in length."""
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


@functools.cache
def _other_line(dimension: str) -> re.Pattern[str]:
    """A line in another form than that of the question: with another word for "score", or with the number alone."""
    label = labels(dimension, MORE_LABELS, TRANSLATED.get(named(dimension).lower(), ""))
    return re.compile(
        rf"^[\s*_`>#•-]*[\[［](?P<index>\d{{1,9}})[\]］]{_LIGHT}(?:[:：]{_LIGHT})?"
        rf"(?:(?:{label}){_LIGHT}[:：]{_LIGHT}(?P<said>.*)|(?P<alone>\d{{1,9}}(?:\s*[/／]\s*\d{{1,9}})?\s*[分点점]?){_LIGHT})$",
        re.IGNORECASE,
    )


def _read(line: re.Pattern[str], text: str) -> dict[int, tuple[int | None, str]]:
    """The score and the outcome by index, of the lines with this pattern."""
    read: dict[int, tuple[int | None, str]] = {}
    # Runs of blanks become one: a judge that repeats itself writes thousands, and the pattern would try each.
    lines = (" ".join(each.split()) for each in text.splitlines())
    for found in filter(None, map(line.match, lines)):
        index = int(found["index"])
        score, outcome = _score(found["said"] or found.groupdict().get("alone") or "")
        read[index] = (score, "duplicate" if index in read and score is not None else outcome)
    return read


def _without_scores(outcome: str, count: int) -> VariantScores:
    return VariantScores((None,) * count, (outcome,) * count)


def _score(said: str) -> tuple[int | None, str]:
    found = SAID.fullmatch(said.strip())
    if found is None:
        return None, "not_integer"
    if found["scale"] is not None and int(found["scale"]) not in (HIGHEST, HIGHEST - 1):
        return None, "other_scale"
    score = int(found["score"].replace("−", "-"))
    return (score, "") if LOWEST <= score <= HIGHEST else (None, "out_of_range")
