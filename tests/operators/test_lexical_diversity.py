"""The words of a text in several scripts, and their diversity as a feature."""

import pytest

from operators.base import RowError
from operators.lexical_diversity import LexicalDiversity
from operators.words import words
from tests.batches import batch

CHINESE = "今天天气很好，我们去公园散步吧。公园里有很多花。"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Well-known in 2024 - “Red, red”!", ["wellknown", "in", "“red", "red”"]),  # as lexicalrichness does
        (CHINESE, ["今天", "天气", "很好", "我们", "去", "公园", "散步", "吧", "公园", "里", "有", "很多", "花"]),
        ("東京へ行く。", ["東京", "へ", "行く"]),
        ("ผมชอบกินข้าว", ["ผม", "ชอบ", "กิน", "ข้าว"]),
        ("Привет, мир 3", ["привет", "мир"]),
        ("Use GPT模型 now", ["use", "gpt", "模型", "now"]),
        ("… 123 !", ["…"]),
    ],
)
def test_words_are_those_between_spaces_or_those_of_a_dictionary(text, found):
    assert words(text) == found


def test_a_script_whose_words_nobody_can_tell_apart_is_an_error():
    with pytest.raises(RowError, match="no_words"):
        words("བོད་ཡིག་ནི་བོད་ཀྱི་སྐད་ཡིག་ཡིན།")
    assert words("The Tibetan word for river is གཙང་པོ in this book, and there are others.")[0] == "the"


def test_the_diversity_of_a_text_without_spaces_is_that_of_its_words():
    answers = ["the cat sat on the mat and the dog sat on the log", CHINESE * 3, "  \n", "! ?", "།" * 9 + "བོད" * 9]
    values = LexicalDiversity().load()(batch([("?", answer) for answer in answers]))
    assert values[0] == 13.0
    assert 10 < values[1] < 39  # one word without segmentation, a sentence three times with it
    assert [value.kind for value in values[2:]] == ["empty_text", "empty_text", "no_words"]
