"""The script of a text, and whether another text has left it."""

import pytest

from operators.scripts import in_another_script, letters_by_script, script


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("naïve Straße", "Latin"), ("Ода к радости, ok", "Cyrillic"), ("مرحبا بكم 123", "Arabic"),
        ("中文 abc", "Latin"),
        ("日本語のテキスト", "Japanese"), ("東京の大学", "Japanese"), ("中文里没有假名", "Han"), ("한국어", "Hangul"),
        ("नमस्ते", "Devanagari"), ("Ελληνικά", "Greek"), ("ช่วยอธิบาย", "Thai"), ("שלום", "Hebrew"), ("ꀀꀁ", "other"),
        ("1 + 1 = 2 \U0001f600", "no letters"), ("", "no letters"),
    ],
)  # fmt: skip
def test_script_of_a_text_is_that_of_most_letters(text, expected):
    assert script(text) == expected


def test_letters_of_each_script_are_counted_and_nothing_else_is():
    assert letters_by_script("Ｇpt ﹣ 東京へ, привет 12!") == {"Latin": 3, "Han": 2, "Kana": 1, "Cyrillic": 6}
    assert letters_by_script("12 !\ud83d") == {}


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ("列举三种颜色。", "Name three colours.", True),
        ("ひらがなでかいてください", "カタカナデカイテクダサイ", False),
        ("用 Python 写排序", "用 Python 写稳定的排序", False),
        ("Name three colours.", "列举三种颜色 (GPT)", False),
        ("", "abc", False),
        ("12", "abc", False),
        ("abc", "12", False),
    ],
)
def test_a_text_has_left_a_script_where_hardly_a_letter_is_in_it(old, new, left):
    assert in_another_script(old, new) == left
