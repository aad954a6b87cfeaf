"""What a judge's reply says: a rating, or a short word for why there is none. Text in, Rating out; no defaults.

    first_line("4.5\nThe response ...", 0, 5)         Rating(score=4.5, outcome="")
    first_line("8/10", 0, 5)                          Rating(score=None, outcome="other_scale")
    json_score('{"score": 4.5}', 0, 5)                Rating(score=4.5, outcome="")

The outcomes: `empty`; `unfinished` (still thinking when it broke off); `no_number`; `several_numbers` (which one?);
`prose` (one number, among words that may be a quotation of the sample); `other_scale`; `out_of_scale`;
`not_finite`; of JSON also `not_json` (no JSON object, or words around it), `duplicate_keys`, `other_keys`; of the
published readings `crashes`.

The published readings repeat the released code of AlpaGasus and LIFT with its faults, for runs that repeat theirs.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SEPARATOR = r"[.．٫]"
COMMA = r"[,，]"  # a decimal comma before one or two digits; before three it may part the thousands
NUMBER = rf"(?:\d+(?:{SEPARATOR}\d+|{COMMA}\d{{1,2}})?|{SEPARATOR}\d+)(?!\d)"

# The words for a score that may stand before it. Any other word may be the beginning of a quotation.
LABELS = (
    r"(?:(?:total|overall|final|my|the)\s+)*(?:scores?|rating|grade|total)",
    r"(?:总|最终|整体)?(?:评分|得分|分数|分|總分)|總分|評分",
    r"(?:総合|合計)?(?:スコア|評価|得点|点数)",
    r"(?:총\s*)?(?:점수|평점)",
    r"(?:gesamt)?(?:punktzahl|punkte|bewertung|wertung)|note(?:\s+(?:finale|totale|globale))?",
    r"puntuaci[oó]n(?:\s+(?:total|final))?|calificaci[oó]n|puntaje|pontua[cç][aã]o|nota(?:\s+final)?|punteggio|voto",
    r"(?:итоговая\s+|общая\s+)?оценка|балл(?:ы)?",
    r"الدرجة|التقييم|النتيجة|अंक|स्कोर|puan|skor|điểm(?:\s+số)?|คะแนน|ציון",
)
UNITS = r"分|点|點|점|points?|pts?|punkte?n?|puntos?|pontos?|баллов|балла?"
LINE = re.compile(
    rf"(?:(?:{'|'.join(LABELS)})\s*[:：=＝]\s*)?"
    rf"(?P<number>[-+−－]?{NUMBER})\s*(?:{UNITS})?\s*"
    rf"(?:(?:[/／⁄]|out\s+of)\s*(?P<scale>{NUMBER})\s*(?:{UNITS})?|(?P<percent>[%％]))?\s*[.。．]?",
    re.IGNORECASE,
)
NOT_FINITE = re.compile(rf"(?:(?:{'|'.join(LABELS)})\s*[:：=＝]\s*)?[-+−]?(?:nan|inf|infinity|∞)", re.IGNORECASE)

# Emphasis, quotation marks and brackets around a score. They become blanks, so that 4*5 does not become 45.
DECORATION = str.maketrans(
    dict.fromkeys("*_`\"'“”„«»「」『』()（）[]【】#\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", " ")
)
READ_ALIKE = str.maketrans({**dict.fromkeys("．٫,，", "."), "−": "-", "－": "-"})

THOUGHT = re.compile(r"<think(?:ing)?>|\[THINK\]", re.IGNORECASE)
THOUGHT_END = re.compile(r"</think(?:ing)?>|\[/THINK\]", re.IGNORECASE)
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Rating:
    """A judge's score on its scale with the outcome "", or None with the outcome that says why.

    One reading gives both a score and a reason: `published_lift`, whose 0 stands for a reply without a number too.
    """

    score: float | None
    outcome: str = ""


def first_line(reply: str, lowest: float, highest: float) -> Rating:
    """The score that the first line of the answer consists of; the reading that repairs AlpaGasus' and LIFT's.

    The line may hold, besides the number, emphasis, a word for "score" with a colon, the highest score after a
    slash or "out of", and a word for "points"; in any script, with a decimal point or comma.
    """
    return _agreed(reply, lambda answer: _line_score(answer, lowest, highest))


def lift_total(reply: str) -> Rating:
    """LIFT's total of 0 to 100 points, read from the first line."""
    return first_line(reply, 0, 100)


def json_score(reply: str, lowest: float, highest: float) -> Rating:
    """The number in an answer that is {"score": number} and nothing else, in a ```json fence or not."""
    return _agreed(reply, lambda answer: _json_score(answer, lowest, highest))


def answers(reply: str) -> tuple[str, ...]:
    """What may be the answer in a reply that may think first; nothing where the thinking did not come to an end.

    A chat template may have opened the thinking, and a sample that is quoted may hold the closing tag. Hence
    each piece that is possible: after every closing tag and, where no thinking was opened, before the first.
    """
    pieces = tuple(THOUGHT_END.split(reply))
    return pieces[1:] if THOUGHT.match(reply.lstrip()) else pieces


def published_alpagasus(reply: str) -> Rating:
    """As the released get_scores.py: the first line as Python's float reads it, an infinity too.

    Where the code writes -1 (no number) or nan, which no threshold lets through, there is no score.
    """
    line = reply.split("\n")[0]
    try:
        return _not_nan(float(line))
    except ValueError:
        return Rating(None, "no_number" if line.strip() else "empty")


def published_alpagasus_filter(reply: str) -> Rating:
    """As the parser in the released filter.py, which nothing calls there: it looks for "score:" and "Score:" too.

    After "score:" it reads the rest of the line, after "Score:" one character; `crashes` where that raises.
    """
    plain = published_alpagasus(reply)
    if plain.outcome in ("", "not_finite"):
        return plain
    try:
        if "score:" in reply:
            return _not_nan(float(reply.split("score:")[1].split("\n")[0]))
        if "Score:" in reply:
            return Rating(float(reply.split("Score:")[1].strip("\n")[0]))
    except (ValueError, IndexError):
        return Rating(None, "crashes")
    return plain


def published_lift(reply: str) -> Rating:
    """As the released generate_gpt_score.py: the first digits of the first line; 0, with the outcome, without any."""
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


def _agreed(reply: str, read: Callable[[str], Rating]) -> Rating:
    """The rating that the possible answers agree on; `several_numbers` where two of them give different scores."""
    if not reply.strip():
        return Rating(None, "empty")
    ratings = [read(answer) for answer in answers(reply)]
    if not ratings:
        return Rating(None, "unfinished")
    scored = {rating.score for rating in ratings if rating.score is not None}
    if len(scored) > 1:
        return Rating(None, "several_numbers")
    return Rating(scored.pop()) if scored else ratings[-1]


def _line_score(answer: str, lowest: float, highest: float) -> Rating:
    # One blank for many: a judge that repeats itself writes thousands, and the pattern tries each.
    lines = (" ".join(line.translate(DECORATION).split()) for line in answer.splitlines())
    line = next((line for line in lines if line), "")
    if not line:
        return Rating(None, "empty")
    found = LINE.fullmatch(line)
    if found is None:
        return Rating(None, _unread(line))
    scale = 100.0 if found["percent"] else _value(found["scale"] or str(highest))
    if scale != highest:
        return Rating(None, "other_scale")
    return _within(_value(found["number"]), lowest, highest)


def _unread(line: str) -> str:
    """Why a line that is not a score has none."""
    if NOT_FINITE.fullmatch(line):
        return "not_finite"
    numbers = {_value(number) for number in re.findall(NUMBER, line)}
    return ("no_number", "prose")[len(numbers)] if len(numbers) < 2 else "several_numbers"


def _value(number: str) -> float:
    return float(number.translate(READ_ALIKE))


def _within(score: float, lowest: float, highest: float) -> Rating:
    if not lowest <= score <= highest:
        return Rating(None, "out_of_scale")
    return Rating(score + 0.0)  # -0 becomes 0


class _DuplicateKeys(ValueError):
    pass


def _json_score(answer: str, lowest: float, highest: float) -> Rating:
    text = answer.strip().removeprefix("\ufeff")
    fenced = FENCE.fullmatch(text)
    text = fenced[1] if fenced else text
    if not text.strip():
        return Rating(None, "empty")
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_int=float)
    except _DuplicateKeys:
        return Rating(None, "duplicate_keys")
    except (ValueError, RecursionError):
        return Rating(None, "not_json")
    if not isinstance(found, dict):
        return Rating(None, "not_json")
    if set(found) - {"score"}:
        return Rating(None, "other_keys")
    score = found.get("score")
    if not isinstance(score, float):
        return Rating(None, "no_number")
    return _within(score, lowest, highest) if math.isfinite(score) else Rating(None, "not_finite")


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _DuplicateKeys
    return dict(pairs)
