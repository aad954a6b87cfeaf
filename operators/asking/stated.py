r"""The score that an answer states in other forms than the one that was asked for, if it states one and no other.

    stated("Rating (0-5): 4.5", True, (0, 5))                            Stated(4.5, out_of=5.0)
    stated(r"The accuracy is \boxed{4.5}.", True, (0, 5), "accuracy")    Stated(4.5, out_of=5.0)
    stated("The response says: 5", True, (0, 5))                         None

A number counts where it is all that a line says, besides a label, the scale, a unit, and a remark without any number
behind a dash. The line is the first one, or the last one where no line before it has a number.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from operators.asking.score_words import (
    COMMA,
    DECORATION,
    NUMBER,
    OPENING,
    TRANSLATED,
    UNITS,
    dimension_pattern,
    labels,
    named,
    number,
)

MORE_LABELS = (
    r"final\s+answer|answer(?=\s*[:：=＝])|ratings|verdict|assessment|evaluation|judge?ment|result|marks?|output\s+score"
    r"|(?:我的|最后|最後|综合|綜合|总体|總體|整体|最终|最終)(?:评分|評分|得分|打分|分数|分數)|打分|评级|評級|评价|評價|判定"
    r"|(?:评分|评估|打分|最终|最后)结果|(?:最终|最后)答案|答案(?=\s*[:：=＝])|回答的?(?:评分|得分|分数)"
)
"""Words that introduce a verdict. An answer is a part of a sample too, and needs a colon."""
ALL_UNITS = rf"(?:{UNITS}|stars?|顆星|颗星|星|つ星|★|⭐|баллов|étoiles?|sterne?n?|estrellas?)"
PREFACE = rf"(?:here\s+(?:is|s)\s+|so,?\s+|thus,?\s+|therefore,?\s+|因此[，,]?|所以[，,]?|综上[，,]?)?{OPENING}"
OF_THE = r"(?:\s+(?:of|for)\s+(?:the|this)\s+(?:response|answer|reply|output))?"
LINK = r"(?:\s*(?:[:：=＝|]|[–—]|->|→|为|為|是|は|:=)\s*|\s+(?:-|is|was|would\s+be|est|ist|es|è)\s+|\s*)"
GIVEN = (
    r"i\s+(?:would\s+|d\s+|will\s+|ll\s+)?(?:rate|give|score|assign)\s+(?:{what})(?:\s+(?:an?|as|at|with|the))*"
    r"(?:\s+(?:rating|score)\s+of)?\s+|我?(?:会|會|将|將)?(?:给出?|給出?|打|得)(?:了|出)?"
)

FENCE = re.compile(r"^[ \t]*```\w*[ \t]*$", re.MULTILINE)
BOXED = re.compile(r"\\(?:boxed|fbox|text|textbf|mathbf|mathrm)\s*\{([^{}\n]*)\}")
TAG = re.compile(r"</?([^<>\n/]{1,60})>")
MARKUP = re.compile(r"<\|(?:begin|end)_of_box\|>|\\[()\[\]]|[${}\ufe0f]")
ASIDE = re.compile(r"(?<=[\w.%])\s*[(（][^()（）]*[)）][\s*_.。]*$")
HALVES = {"½": ".5", "¼": ".25", "¾": ".75"}
HALF = re.compile(rf"(?<![\d.．٫,，])(\d+)\s?([{''.join(HALVES)}])")
STARS = re.compile(r"(?P<full>[★⭐🌟✭✮]+)(?P<empty>[☆✩✰]*)")

DASH = re.compile(r"\s*(?:[–—]|-\s)")
STOP = re.compile(r"\s*(?:[.,;:|。，；：！!、–—]|-\s)")
END = re.compile(r"\s*(?:です|である|だ)?[.。．!！|]*")


class Stated(NamedTuple):
    """A number, and the highest number of the scale that it is on."""

    score: float
    out_of: float
    """NaN where the answer names a scale that begins with another number than the one that was asked for."""


def stated(answer: str, whole: bool, scale: tuple[float, float], dimension: str = "") -> Stated | None:
    """The score that an answer states, or None. whole: False where the answer was cut; its last line is not read."""
    words = _labels(dimension)
    lines = [*_lines(answer, words)]
    ended = len(lines) if whole or answer.endswith("\n") else len(lines) - 1
    if not ended:
        return None
    label = re.compile(rf"{PREFACE}(?:{words}){OF_THE}\s*(?:{_range('scale')})?\s*[:：]?", re.IGNORECASE)
    if ended > 1 and label.fullmatch(lines[0]):
        return _on_line(f"{lines[0].rstrip(':：')}: {lines[1]}", scale, dimension, remarks=False)
    if found := _on_line(lines[0], scale, dimension):
        return found
    before = lines[:-1]
    if not whole or not before or any(map(_has_number, before)):
        return None
    # What a colon introduces may be a quotation.
    if before[-1].endswith((":", "：")) and not re.search(words, before[-1], re.IGNORECASE):
        return None
    return _on_line(lines[-1], scale, dimension, remarks=False)


def _lines(answer: str, words: str) -> Iterator[str]:
    """The lines of an answer that say something, without markup; runs of blanks become one."""
    known = re.compile(rf"{OPENING}(?:{words}|answer)", re.IGNORECASE)
    text = TAG.sub(lambda found: " " if known.fullmatch(named(found[1])) else found[0], FENCE.sub("", answer))
    for _ in range(2):
        text = BOXED.sub(r" \1 ", text)
    for line in MARKUP.sub(" ", text).splitlines():
        line = unicodedata.normalize("NFC", line)
        aside = ASIDE.search(line)
        if aside and not _has_number(aside[0]):
            line = line[: aside.start()]
        line = " ".join(line.translate(DECORATION).split())
        if line:
            yield HALF.sub(lambda found: found[1] + HALVES[found[2]], line)


def _on_line(line: str, scale: tuple[float, float], dimension: str, remarks: bool = True) -> Stated | None:
    """The score that a line states. remarks: whether words may follow the score."""
    found = _statement(dimension).match(line)
    if found is None:
        return _stars(line, scale, dimension)
    rest = line[found.end() :]
    if not END.fullmatch(rest):
        sure = found["label"] or found["unit"] or found["of"]
        if not remarks or _has_number(rest) or not (STOP if sure else DASH).match(rest):
            return None
    if found["of"] and found["then_only"]:
        return None
    named_scales = [found[name] for name in ("of", "scale_top", "scale_only", "then_top", "then_only") if found[name]]
    lowest = {number(found[name]) for name in ("scale_low", "then_low") if found[name]}
    highest = {100.0 if found["percent"] else scale[1], *map(number, named_scales)}
    fits = lowest <= {scale[0]} and (len(highest) == 1 or (highest == {scale[1]}))
    return Stated(number(found["score"]), highest.pop() if fits else float("nan"))


def _stars(line: str, scale: tuple[float, float], dimension: str) -> Stated | None:
    """The number of full stars, where there are as many stars as the highest rating."""
    found = re.fullmatch(rf"(?:{PREFACE}(?:{_labels(dimension)}){LINK})?{STARS.pattern}", line, re.IGNORECASE)
    if found is None or len(found["full"] + found["empty"]) != scale[1]:
        return None
    return Stated(float(len(found["full"])), scale[1])


def _has_number(text: str) -> bool:
    return any(character.isnumeric() and not character.isalpha() for character in text)


@functools.cache
def _labels(dimension: str) -> str:
    return labels(dimension, MORE_LABELS, TRANSLATED.get(named(dimension).lower(), ""))


@functools.cache
def _statement(dimension: str) -> re.Pattern[str]:
    """A pattern for the beginning of a line that states a score."""
    words = _labels(dimension)
    asked = dimension_pattern(dimension)
    what = rf"(?:it|this|that|(?:(?:the|this|its)\s+)?(?:response|answer|reply{'|' + asked if asked else ''})){OF_THE}"
    label = rf"(?:[-•–|]\s+)?{PREFACE}(?:{words}){OF_THE}\s*(?:{_range('scale')})?{LINK}|{GIVEN.format(what=what)}"
    behind = rf"(?:\s*(?:for|in)?\s*(?:the\s+)?{asked})?" if asked else ""
    return re.compile(
        rf"(?P<label>{label})?"
        rf"(?P<score>[-+−－]?{NUMBER})\s*(?P<unit>{ALL_UNITS})?\s*"
        rf"(?:(?:[/／⁄]|(?:out\s+)?of|von|sur|su|из)\s*(?P<of>{NUMBER})\s*{ALL_UNITS}?|(?P<percent>[%％]))?"
        rf"(?:\s*{COMMA}?\s*(?:{_range('then')}))?{behind}",
        re.IGNORECASE,
    )


def _range(name: str) -> str:
    """A pattern of a scale: "0-5", "on a scale of 0 to 5", "out of 5", "满分5分", "5分制"."""
    return (
        rf"(?:on\s+an?\s+)?(?:scale\s+)?(?:(?:of|from)\s+)?(?P<{name}_low>{NUMBER})\s*{ALL_UNITS}?\s*(?:[-–—~～/]|to|至|到)"
        rf"\s*(?P<{name}_top>{NUMBER})\s*(?:{ALL_UNITS}|scale)?"
        rf"|(?:[/／]|out\s+of|max(?:imum)?|(?:总分|總分)?(?:满分|滿分)(?:为|是|為)?)\s*(?P<{name}_only>{NUMBER})\s*"
        rf"{ALL_UNITS}?"
    )
