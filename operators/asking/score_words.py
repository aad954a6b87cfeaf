"""The words and signs around the score in a judge's reply, as pieces of patterns.

A word for "score" may come before the number, and so may the name of the dimension that is rated: "Accuracy: 4.5",
"Final accuracy score: 4.5", "Rating of accuracy: 4.5". Any other word may be the beginning of a quotation.
"""

import functools
import re
import unicodedata

SEPARATOR = r"[.．٫]"
COMMA = r"[,，]"  # a decimal comma before one or two digits; before three it may separate thousands
NUMBER = rf"(?:\d+(?:{SEPARATOR}\d+|{COMMA}\d{{1,2}})?|{SEPARATOR}\d+)(?!\d)"

OPENING = r"(?:(?:total|overall|final|my|the)\s+)*"
LABELS = (
    r"scores?|rating|grade|total",
    r"(?:总|最终|整体)?(?:评分|得分|分数|分|總分)|總分|評分",
    r"(?:総合|合計)?(?:スコア|評価|得点|点数)",
    r"(?:총\s*)?(?:점수|평점)",
    r"(?:gesamt)?(?:punktzahl|punkte|bewertung|wertung)|note(?:\s+(?:finale|totale|globale))?",
    r"puntuaci[oó]n(?:\s+(?:total|final))?|calificaci[oó]n|puntaje|pontua[cç][aã]o|nota(?:\s+final)?|punteggio|voto",
    r"(?:итоговая\s+|общая\s+)?оценка|балл(?:ы)?",
    r"الدرجة|التقييم|النتيجة|अंक|स्कोर|puan|skor|điểm(?:\s+số)?|คะแนน|ציון",
)
LABEL = "|".join(LABELS)
UNITS = r"分|点|點|점|points?|pts?|punkte?n?|puntos?|pontos?|баллов|балла?"

TRANSLATED = {
    "accuracy": r"准确[性度率]|正确性|準確[性度]|正確性|正確さ|精度|정확[성도]"
    r"|genauigkeit|exactitude|précision|exactitud|precisión|точность",
    "helpfulness": r"(?:有)?帮助性|有用性|有益性|有幫助性|役立ち度|유용성|도움성"
    r"|hilfreichkeit|nützlichkeit|utilité|utilidad|полезность",
    "quality": r"质量|品質|品质|質量|품질|qualität|qualité|calidad|качество",
    "complexity": r"复杂[性度]|複雜[性度]|複雑[さ性]|복잡[성도]|komplexität|complexité|complejidad|сложность",
}
"""The names that a judge gives to the papers' dimensions where it answers in the language of the sample."""

# Emphasis, quotation marks and brackets around a score. They become blanks, so that 4*5 does not become 45.
DECORATION = str.maketrans(
    dict.fromkeys("*_`\"'“”„«»「」『』()（）[]【】#\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", " ")
)
READ_ALIKE = str.maketrans({**dict.fromkeys("．٫,，", "."), "−": "-", "－": "-"})


def number(text: str) -> float:
    """The value of a text that matches NUMBER, with a sign or without."""
    return float(text.translate(READ_ALIKE))


def named(dimension: str) -> str:
    """A dimension in a normal form: without emphasis and hyphens, with single blanks and composed accents."""
    return " ".join(unicodedata.normalize("NFC", dimension).translate(DECORATION).replace("-", " ").split())


@functools.cache
def labels(dimension: str, more: str = "", translated: str = "") -> str:
    """A pattern of the labels of a score: LABEL and `more`, and the dimension with or without one of them.

    translated: a pattern of the dimension in other languages.
    """
    known = f"{LABEL}|{more}" if more else LABEL
    asked = "|".join(filter(None, (dimension_pattern(dimension), translated)))
    if not asked:
        return known
    before = rf"(?:(?:{known})\s*(?:(?:of|for|in|on)\s+(?:the\s+)?)?)?"
    return rf"{known}|{before}(?:{asked})(?:\s*[的の]?\s*(?:{known}))?"


def dimension_pattern(dimension: str) -> str:
    """A pattern of the dimension as it is written in a prompt; empty where it has no letters."""
    return re.escape(named(dimension)).replace(r"\ ", r"[\s-]")
