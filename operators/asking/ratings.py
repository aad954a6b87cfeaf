"""The rating in a judge's reply, or a short word for the reason why there is none. There are no default ratings.

    first_line("4.5\nThe response ...", 0, 5)         Rating(score=4.5, outcome="")
    first_line("8/10", 0, 5)                          Rating(score=None, outcome="other_scale")
    first_line("Accuracy: 4.5", 0, 5, "accuracy")     Rating(score=4.5, outcome="")
    json_score('{"score": 4.5}', 0, 5)                Rating(score=4.5, outcome="")

The outcomes: `empty`; `unfinished` (the reply was cut before an answer: within the thinking, or within the line that
may be the answer); `no_number`; `several_numbers`; `prose` (one number, among words that may be a quotation of the
sample); `other_scale`; `out_of_scale`; `not_finite`; for JSON also `not_json` (not a JSON object, or words around it),
`duplicate_keys` and `other_keys`.

The published readings repeat the released code of AlpaGasus and LIFT with its faults, to reproduce their results.
"""

import functools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from operators.asking.score_words import DECORATION, NUMBER, OPENING, UNITS, labels, named, number
from operators.asking.stated import stated

SCORE = (
    rf"(?P<number>[-+−－]?{NUMBER})\s*(?:{UNITS})?\s*"
    rf"(?:(?:[/／⁄]|out\s+of)\s*(?P<scale>{NUMBER})\s*(?:{UNITS})?|(?P<percent>[%％]))?\s*[.。．]?"
)
NOT_FINITE = r"[-+−]?(?:nan|inf|infinity|∞)"

THOUGHT = re.compile(r"<think(?:ing)?>|\[THINK\]", re.IGNORECASE)
THOUGHT_END = re.compile(r"</think(?:ing)?>|\[/THINK\]", re.IGNORECASE)
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Rating:
    """A judge's score on its scale with the outcome "", or None with the reason as the outcome.

    Only `published_lift` returns both a score and a reason: its 0 also stands for a reply without a number.
    """

    score: float | None
    outcome: str = ""


def first_line(reply: str, lowest: float, highest: float, dimension: str = "", finished: bool = True) -> Rating:
    """The score on the first line of the answer; this reading repairs those of AlpaGasus and LIFT.

    Besides the number the line may contain emphasis, a word for "score" or the dimension (or both) with a colon, the
    highest score after a slash or "out of", and a word for "points". Digits may be of any script, with a decimal point
    or comma. A line with other words is not read, as they may belong to a quotation. finished: False where the reply
    was cut; its first line is then read only if another line follows, since a final 4 may be the beginning of 4.5.
    """
    scale = (lowest, highest)
    return _agreed(
        reply,
        lambda answer, whole: _line_score(answer, whole, scale, dimension),
        finished,
        lambda answer, whole: _stated(answer, whole, scale, dimension),
    )


def json_score(reply: str, lowest: float, highest: float, dimension: str = "", finished: bool = True) -> Rating:
    """The number in an answer that is {"score": number} and nothing else, with or without a ```json fence.

    The key may be the dimension: where a server does not enforce the schema, models use that name.
    """
    return _agreed(reply, lambda answer, whole: _json_score(answer, whole, (lowest, highest), dimension), finished)


def answers(reply: str) -> tuple[str, ...]:
    """The pieces of a reply that may be the answer; empty where the thinking has no end.

    The chat template may have opened the thinking, and a quoted sample may contain the closing tag. All possible pieces
    are therefore returned: the one after each closing tag and, where the reply opens no thinking, the one before the
    first.
    """
    pieces = tuple(THOUGHT_END.split(reply))
    return pieces[1:] if THOUGHT.match(reply.lstrip()) else pieces


def published_alpagasus(reply: str) -> Rating:
    """The reading of the released get_scores.py: the first line as Python's float reads it, including infinity.

    There is no score where the code writes -1 (no number) or nan; no threshold admits them.
    """
    line = reply.split("\n")[0]
    try:
        return _not_nan(float(line))
    except ValueError:
        return Rating(None, "no_number" if line.strip() else "empty")


def published_lift(reply: str) -> Rating:
    """The reading of the released generate_gpt_score.py: the first digits of the first line; 0 where there are none."""
    line = reply.strip().split("\n")[0]
    found = re.search(r"\d+", line)
    if found is None:
        return Rating(0.0, "no_number" if line else "empty")
    try:
        return Rating(float(int(found.group())))
    except (ValueError, OverflowError):  # thousands of digits
        return Rating(0.0, "not_finite")


def _not_nan(score: float) -> Rating:
    return Rating(None, "not_finite") if math.isnan(score) else Rating(score)


def _agreed(
    reply: str,
    read: Callable[[str, bool], Rating],
    finished: bool,
    otherwise: Callable[[str, bool], Rating | None] = lambda answer, whole: None,
) -> Rating:
    """The rating that the possible answers agree on; `several_numbers` where two of them give different scores.

    otherwise: reads the last answer where `read` finds a score in none. What is before it may be thinking.
    """
    if not reply.strip():
        return Rating(None, "empty" if finished else "unfinished")
    pieces = answers(reply)
    if not pieces:
        return Rating(None, "unfinished")
    ratings = [read(answer, True) for answer in pieces[:-1]] + [read(pieces[-1], finished)]
    scored = {rating.score for rating in ratings if rating.score is not None}
    if len(scored) > 1:
        return Rating(None, "several_numbers")
    if scored:
        return Rating(scored.pop())
    return otherwise(pieces[-1], finished) or ratings[-1]


def _stated(answer: str, whole: bool, scale: tuple[float, float], dimension: str) -> Rating | None:
    """The rating that an answer states in another form; None where it states none."""
    found = stated(answer, whole, scale, dimension)
    if found is None:
        return None
    return _within(found.score, scale) if found.out_of == scale[1] else Rating(None, "other_scale")


def _line_score(answer: str, whole: bool, scale: tuple[float, float], dimension: str) -> Rating:
    # Runs of blanks become one: a judge that repeats itself writes thousands, and the pattern would try each.
    lines = (" ".join(line.translate(DECORATION).split()) for line in answer.splitlines())
    lines = [line for line in lines if line]
    if not whole and len(lines) + answer.endswith("\n") < 2:
        return Rating(None, "unfinished")
    if not lines:
        return Rating(None, "empty")
    line = unicodedata.normalize("NFC", lines[0])
    found = _labelled(SCORE, dimension).fullmatch(line)
    if found is None:
        return Rating(None, _unread(line, dimension))
    highest = 100.0 if found["percent"] else number(found["scale"] or str(scale[1]))
    if highest != scale[1]:
        return Rating(None, "other_scale")
    return _within(number(found["number"]), scale)


def _unread(line: str, dimension: str) -> str:
    """The outcome of a line that is not a score."""
    if _labelled(NOT_FINITE, dimension).fullmatch(line):
        return "not_finite"
    numbers = {number(each) for each in re.findall(NUMBER, line)}
    return ("no_number", "prose")[len(numbers)] if len(numbers) < 2 else "several_numbers"


@functools.cache
def _labelled(said: str, dimension: str) -> re.Pattern[str]:
    """A pattern for `said`, with or without a label and a colon before it."""
    return re.compile(rf"(?:{OPENING}(?:{labels(dimension)})\s*[:：=＝]\s*)?{said}", re.IGNORECASE)


def _within(score: float, scale: tuple[float, float]) -> Rating:
    if not scale[0] <= score <= scale[1]:
        return Rating(None, "out_of_scale")
    return Rating(score + 0.0)  # -0 becomes 0


class _DuplicateKeys(ValueError):
    pass


def _json_score(answer: str, whole: bool, scale: tuple[float, float], dimension: str) -> Rating:
    text = answer.strip().removeprefix("\ufeff")
    fenced = FENCE.fullmatch(text)
    text = fenced[1] if fenced else text
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_int=float)
    except _DuplicateKeys:
        return Rating(None, "duplicate_keys")
    except (ValueError, RecursionError):
        return Rating(None, ("not_json" if text.strip() else "empty") if whole else "unfinished")
    if not isinstance(found, dict):
        return Rating(None, "not_json")
    asked = named(dimension).lower()
    if len(found) > 1 or any(key != "score" and not (asked and named(key).lower() == asked) for key in found):
        return Rating(None, "other_keys")
    score = next(iter(found.values()), None)
    if not isinstance(score, float):
        return Rating(None, "no_number")
    return _within(score, scale) if math.isfinite(score) else Rating(None, "not_finite")


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _DuplicateKeys
    return dict(pairs)
