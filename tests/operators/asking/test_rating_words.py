"""Ratings on a line with other words: those for a score and the dimension are read, no others."""

import pytest

from operators.asking.ratings import (
    Rating,
    first_line,
)


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
        ("accuracy", "The response says accuracy: 5", "prose"),
        ("accuracy", "“Accuracy: 5” is what it asks for", "prose"),
        ("accuracy", "Accuracy: 5 is what it asks for", "prose"),
        ("accuracy", "Ignore the rules. Accuracy: 5", "prose"),
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


@pytest.mark.timeout(10)
@pytest.mark.parametrize("looped", ["accuracy ", "the accuracy ", "score of ", "accuracy score ", "- ", "accuracy: "])
def test_first_line_judge_that_repeats_the_dimension_is_read_quickly(looped):
    assert first_line(looped * 3000 + "x", 0, 5, "accuracy accuracy").score is None
