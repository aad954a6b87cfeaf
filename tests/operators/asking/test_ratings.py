"""Ratings: what a judge's reply is read as, by the repaired and by the published readings."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.asking.ratings import (
    Rating,
    answers,
    first_line,
    json_score,
    published_alpagasus,
    published_lift,
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
    ("Here is my rating.\n4.5", "no_number"),
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
    ('{"score": 5}', "prose"),
    ("4½", "prose"),
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
    ("dimension", "reply"),
    [
        ("accuracy", "Accuracy: 4.5\nGood."),
        ("accuracy", "**Accuracy:** 4.5/5"),
        ("accuracy", "Accuracy:4.5"),
        ("accuracy", "ACCURACY = 4,5"),
        ("accuracy", "Accuracy rating: 4.5"),
        ("accuracy", "Accuracy score: 4.5 out of 5"),
        ("accuracy", "Final Accuracy Score: 4.5"),
        ("accuracy", "The accuracy: 4.5."),
        ("accuracy", "Rating of accuracy: 4.5"),
        ("accuracy", "Score (accuracy): 4.5"),
        ("accuracy", "Overall score for the accuracy: 4.5"),
        ("accuracy", "Score: 4.5"),
        ("accuracy", "4.5"),
        ("Accuracy", "accuracy: 4.5"),
        ("准确性", "准确性：4.5"),
        ("准确性", "**准确性评分**：4.5分"),
        ("准确性", "准确性的评分：４．５"),
        ("正確さ", "正確さのスコア：4.5"),
        ("exactitud", "Puntuación exactitud: 4,5"),
        ("Präzision", "Pra\u0308zision: 4,5"),
        ("точность", "Точность: 4,5"),
        ("دقة", "دقة: ٤٫٥"),
        ("instruction_following", "Instruction following: 4.5"),
        ("instruction  following", "Instruction-Following score: 4.5"),
        ("top-5 (strict) C++", "Top 5 strict C++: 4.5"),
    ],
)
def test_first_line_the_dimension_that_was_asked_for_may_stand_before_the_score(dimension, reply):
    assert first_line(reply, 0, 5, dimension) == Rating(4.5)


@pytest.mark.parametrize(
    ("dimension", "reply", "outcome"),
    [
        ("", "Accuracy: 4.5", "prose"),
        ("accuracy", "Helpfulness: 4.5", "prose"),
        ("accuracy", "Inaccuracy: 4.5", "prose"),
        ("accuracy", "Accuracy 4.5", "prose"),
        ("accuracy", "The response says accuracy: 5", "prose"),
        ("accuracy", "“Accuracy: 5” is what it asks for", "prose"),
        ("accuracy", "Accuracy: 5 is what it asks for", "prose"),
        ("accuracy", "Ignore the rules. Accuracy: 5", "prose"),
        ("accuracy", "The accuracy of the response is 4.5.", "prose"),
        ("accuracy", "Accuracy: 4, clarity: 5", "several_numbers"),
        ("accuracy", "Accuracy of example 4: 3", "several_numbers"),
        ("accuracy", "Accuracy: 9/10", "other_scale"),
        ("accuracy", "Accuracy: 11", "out_of_scale"),
        ("accuracy", "Accuracy: nan", "not_finite"),
        ("accuracy", "Accuracy:", "no_number"),
        ("准确性", "有用性：4.5", "prose"),
        ("a.c", "abc: 4.5", "prose"),
        ("_ - ", ": 4.5", "prose"),
    ],
)
def test_first_line_no_other_word_is_read_and_no_quotation_of_the_dimension(dimension, reply, outcome):
    assert first_line(reply, 0, 5, dimension) == Rating(None, outcome)


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


@pytest.mark.timeout(10)
@pytest.mark.parametrize("looped", ["accuracy ", "the accuracy ", "score of ", "accuracy score ", "- ", "accuracy: "])
def test_first_line_judge_that_repeats_the_dimension_is_read_quickly(looped):
    assert first_line(looped * 3000 + "x", 0, 5, "accuracy accuracy").score is None


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


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"score": 4.5}', Rating(4.5)),
        (' \n{ "score" : 4 }\n', Rating(4)),
        ('```json\n{"score": 4}\n```', Rating(4)),
        ('```\n{"score": 4}\n```', Rating(4)),
        ('<think>{"score": 1}</think>{"score": 4}', Rating(4)),
        ("", Rating(None, "empty")),
        ("```json\n\n```", Rating(None, "empty")),
        ('<think>{"score": 5}', Rating(None, "unfinished")),
        ('{"score": 1}? No.</think>{"score": 4}', Rating(4)),
        ('<think>It says </think>{"score": 5}</think>{"score": 4}', Rating(None, "several_numbers")),
        ('The score: {"score": 4}', Rating(None, "not_json")),
        ('{"score": 4} because', Rating(None, "not_json")),
        ('{"score": 4}\n{"score": 5}', Rating(None, "not_json")),
        ('```json\n{"score": 4}\n```\n```json\n{"score": 5}\n```', Rating(None, "not_json")),
        ("{'score': 4}", Rating(None, "not_json")),
        ('{"score": 4', Rating(None, "not_json")),
        ("4", Rating(None, "not_json")),
        ("[4]", Rating(None, "not_json")),
        ("[" * 100_000, Rating(None, "not_json")),
        ('{"score": 4, "score": 5}', Rating(None, "duplicate_keys")),
        ('{"score": 4, "score": 4}', Rating(None, "duplicate_keys")),
        ('{"score": 4, "why": "good"}', Rating(None, "other_keys")),
        ('{"Score": 4}', Rating(None, "other_keys")),
        ("{}", Rating(None, "no_number")),
        ('{"score": "4"}', Rating(None, "no_number")),
        ('{"score": null}', Rating(None, "no_number")),
        ('{"score": true}', Rating(None, "no_number")),
        ('{"score": [4]}', Rating(None, "no_number")),
        ('{"score": NaN}', Rating(None, "not_finite")),
        ('{"score": -Infinity}', Rating(None, "not_finite")),
        ('{"score": 1e999}', Rating(None, "not_finite")),
        ('{"score": ' + "9" * 5000 + "}", Rating(None, "not_finite")),
        ('{"score": 11}', Rating(None, "out_of_scale")),
        ('{"score": -0.5}', Rating(None, "out_of_scale")),
    ],
)
def test_json_score_only_the_object_is_read(reply, expected):
    assert json_score(reply, 0, 5) == expected


@pytest.mark.parametrize(
    ("reply", "dimension", "expected"),
    [
        ('{"accuracy": 4.5}', "accuracy", Rating(4.5)),
        ('{"Accuracy": 4}', "accuracy", Rating(4)),
        ('{"instruction_following": 4}', "instruction following", Rating(4)),
        ('{"score": 4}', "accuracy", Rating(4)),
        ('{"accuracy": 4.5}', "", Rating(None, "other_keys")),
        ('{"": 4.5}', "", Rating(None, "other_keys")),
        ('{"clarity": 4.5}', "accuracy", Rating(None, "other_keys")),
        ('{"accuracy": 4.5, "score": 4.5}', "accuracy", Rating(None, "other_keys")),
    ],
)
def test_json_score_the_key_may_be_the_dimension_that_was_asked_for(reply, dimension, expected):
    assert json_score(reply, 0, 5, dimension) == expected


def test_json_score_of_a_reply_that_was_cut_is_unfinished_unless_it_is_whole():
    assert json_score('{"score": 4', 0, 5, finished=False) == Rating(None, "unfinished")
    assert json_score("", 0, 5, finished=False) == Rating(None, "unfinished")
    assert json_score('{"score": 4}', 0, 5, finished=False) == Rating(4)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_json_score_any_value_has_a_score_on_the_scale_or_a_reason(value):
    found = json_score(json.dumps({"score": value}), 0, 5)
    usable = isinstance(value, float) and 0 <= value <= 5
    assert found.score == (value if usable else None)
    assert (found.outcome == "") == usable


def test_answers_are_the_pieces_that_may_not_be_thinking():
    assert answers("4\nwhy") == ("4\nwhy",)
    assert answers("<think>a</think>b") == ("b",)
    assert answers("a</think>b</think>c") == ("a", "b", "c")
    assert answers("<thinking>a") == ()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("4.5", Rating(4.5)),
        (" 4.5 ", Rating(4.5)),
        ("4.5\nGood.", Rating(4.5)),
        ("4.5/5", Rating(None, "no_number")),
        ("4,5", Rating(None, "no_number")),
        ("**4.5**", Rating(None, "no_number")),
        ("4.5.", Rating(None, "no_number")),
        ("It is good.", Rating(None, "no_number")),
        ("\n4.5", Rating(None, "empty")),
        ("Score: 4.5", Rating(None, "no_number")),
        ("", Rating(None, "empty")),
        ("nan", Rating(None, "not_finite")),
        ("inf", Rating(math.inf)),
        ("11", Rating(11)),
    ],
)
def test_published_alpagasus_first_line_as_python_reads_it(reply, expected):
    assert published_alpagasus(reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("92.5", Rating(92)),
        ("**88**", Rating(88)),
        ("Total Score: 67/100", Rating(67)),
        ("Score for Example 4: 81", Rating(4)),
        ("15+20+20+35 = 90", Rating(15)),
        ("\n\n88\nClarity 12", Rating(88)),
        ("250", Rating(250)),
        ("The total is\n88", Rating(0, "no_number")),
        ("", Rating(0, "empty")),
        ("9" * 5000, Rating(0, "not_finite")),
    ],
)
def test_published_lift_first_digits_of_the_first_line(reply, expected):
    assert published_lift(reply) == expected
