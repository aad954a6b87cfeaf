"""Ratings: what a judge's reply is read as, by the repaired and by the published readings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.asking.ratings import (
    Rating,
    answers,
    first_line,
)

WORDS = ("empty", "unfinished", "no_number", "several_numbers", "prose", "other_scale", "out_of_scale", "not_finite")


READ = [
    ("4.5", 4.5),
    (" 4.5 ", 4.5),
    ("4.5\nThe response covers 3 of 7 points.", 4.5),
    ("\n\n  \n4.5\nBecause.", 4.5),
    ("4.5\r\nBecause.", 4.5),
    ("\ufeff4", 4),
    ("0", 0),
    ("-0", 0),
    ("5", 5),
    ("+3", 3),
    (".5", 0.5),
    ("4.", 4),
    ("4。", 4),
    ("**4.5**", 4.5),
    ("`4.5`", 4.5),
    ("# 4.5", 4.5),
    ("[4.5]", 4.5),
    ("4.5/5", 4.5),
    ("4.5 / 5.0", 4.5),
    ("**4.5**/5", 4.5),
    ("4 out of 5", 4),
    ("4 (out of 5)", 4),
    ("Score: 4.5", 4.5),
    ("Score:4.5", 4.5),
    ("score: 4.5", 4.5),
    ("**Score:** 4.5/5", 4.5),
    ("Overall rating = 4", 4),
    ("4.5 points", 4.5),
    ("4,5", 4.5),
    ("Punktzahl: 4,5", 4.5),
    ("Note : 4,25/5", 4.25),
    ("Puntuación: 4", 4),
    ("Оценка: 4,5", 4.5),
    ("评分：4.5", 4.5),
    ("总分：4.5分", 4.5),
    ("スコア：４．５", 4.5),
    ("점수: 4점", 4),
    ("４．５／５", 4.5),
    ("٤٫٥", 4.5),
    ("الدرجة: ٤", 4),
    ("स्कोर: ४.५", 4.5),
    ("<think>5? No, it is wrong in 2 places.</think>\n\n3.5\nWhy", 3.5),
    ("<think>\n\n</think>\n\n4", 4),
    ("It is wrong in 2 places.\n</think>\n3.5", 3.5),
    ("[THINK]hm[/THINK]2", 2),
    ("4\nThe response ends in the middle of a tag, </think>", 4),
]


NOT_READ = [
    ("", "empty"),
    (" \n\t\n", "empty"),
    ("\u200b\n", "empty"),
    ("<think></think>", "empty"),
    ("<think>It might be a 5", "unfinished"),
    ("<think>\n4\n", "unfinished"),
    ("I cannot rate this.", "no_number"),
    ("Je ne peux pas évaluer cette réponse.", "no_number"),
    ("很抱歉，我无法评分。", "no_number"),
    ("four", "no_number"),
    ("四", "no_number"),
    ("⭐⭐⭐⭐", "no_number"),
    ("Score:", "no_number"),
    ("4 or 5", "several_numbers"),
    ("4-5", "several_numbers"),
    ("3～4", "several_numbers"),
    ("4 5", "several_numbers"),
    ("4*5", "several_numbers"),
    ("4_5", "several_numbers"),
    ("4\u200b5", "several_numbers"),
    ("4, 5", "several_numbers"),
    ("1,000", "several_numbers"),
    ("1.2.3", "several_numbers"),
    ("Score for Example 4: 3", "several_numbers"),
    ("Instruction 3, response 4", "several_numbers"),
    ("1. 4.5", "several_numbers"),
    ("<think>It quotes </think>\n5\nwhich is silly.</think>\n2", "several_numbers"),
    ("4\nThe response reads </think>\n5\n", "several_numbers"),
    ("The response says give this a 5", "prose"),
    ("The response says: 5", "prose"),
    ("它说：5", "prose"),
    ("“Score: 5” is what it asks for", "prose"),
    ("Ignore the rules. Score: 5", "prose"),
    ("4²", "prose"),
    ("- 4", "prose"),
    ("4.5 because it is right", "prose"),
    ("8/10", "other_scale"),
    ("4/4", "other_scale"),
    ("4 out of 10", "other_scale"),
    ("80%", "other_scale"),
    ("Score: 11", "out_of_scale"),
    ("5.01", "out_of_scale"),
    ("-1", "out_of_scale"),
    ("−1", "out_of_scale"),
    ("6/5", "out_of_scale"),
    ("9" * 400, "out_of_scale"),
    ("NaN", "not_finite"),
    ("inf", "not_finite"),
    ("-Infinity", "not_finite"),
    ("Score: nan", "not_finite"),
    ("∞", "not_finite"),
]


@pytest.mark.parametrize(("reply", "score"), READ)
def test_first_line_score_is_read(reply, score):
    assert first_line(reply, 0, 5) == Rating(score)


@pytest.mark.parametrize(("reply", "outcome"), NOT_READ)
@pytest.mark.fault(
    "a judge's reply is no rating",
    how="replies that are empty, prose, out of the scale, two numbers, refusals and more",
    holds="a typed error, never a number",
)
def test_first_line_anything_else_is_typed(reply, outcome):
    assert first_line(reply, 0, 5) == Rating(None, outcome)


@given(st.text(max_size=60) | st.text("0123456789.,/-<>think \n*:Score分", max_size=30))
def test_first_line_any_text_has_a_score_on_the_scale_or_a_reason(reply):
    found = first_line(reply, 1, 5)
    if found.score is None:
        assert found.outcome in WORDS
    else:
        assert 1 <= found.score <= 5
        assert found.outcome == ""


@given(st.integers(0, 50), st.text(max_size=40))
def test_first_line_what_follows_the_first_line_does_not_matter(tenths, explanation):
    assert first_line(f"{tenths / 10}\n{explanation}", 0, 5).score == tenths / 10


@pytest.mark.timeout(10)
@pytest.mark.parametrize("looped", [" ", "*", "9", ".", "4 ", "Score: ", "the ", "</think>", "\n", "/5"])
def test_first_line_judge_that_repeats_itself_is_read_quickly(looped):
    found = first_line("4" + looped * 3000 + "x", 0, 5)
    assert found.score is None or looped in ("</think>", "\n")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("4", Rating(None, "unfinished")),
        ("", Rating(None, "unfinished")),
        ("Okay, the instruction asks for 3 things", Rating(None, "unfinished")),
        ("<think>hm</think>\n", Rating(None, "unfinished")),
        ("<think>hm</think>4", Rating(None, "unfinished")),
        ("thought\nso 3?\n</think>4", Rating(None, "unfinished")),
        ("4\n", Rating(4)),
        ("4.5\nThe resp", Rating(4.5)),
        ("<think>hm</think>\n4.5\nThe", Rating(4.5)),
        ("4\nThe response ends with </think> and", Rating(4)),
    ],
)
def test_first_line_of_a_reply_that_was_cut_is_read_where_it_is_whole(reply, expected):
    assert first_line(reply, 0, 5, finished=False) == expected


def test_first_line_scale_is_the_callers():
    assert first_line("8/10", 1, 10) == Rating(8)
    assert first_line("0", 1, 10) == Rating(None, "out_of_scale")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("88", Rating(88)),
        ("92.5", Rating(92.5)),
        ("**88**", Rating(88)),
        ("Total Score: 67/100", Rating(67)),
        ("67%", Rating(67)),
        ("总分：67分", Rating(67)),
        ("Score for Example 4: 81", Rating(None, "several_numbers")),
        ("15+20+20+35 = 90", Rating(None, "several_numbers")),
        ("4/5", Rating(None, "other_scale")),
        ("101", Rating(None, "out_of_scale")),
        ("none", Rating(None, "no_number")),
    ],
)
def test_first_line_on_a_scale_to_100_reads_the_total_or_says_why_not(reply, expected):
    assert first_line(reply, 0, 100) == expected


def test_answers_are_the_pieces_that_may_not_be_thinking():
    assert answers("4\nwhy") == ("4\nwhy",)
    assert answers("<think>a</think>b") == ("b",)
    assert answers("a</think>b</think>c") == ("a", "b", "c")
    assert answers("<thinking>a") == ()
