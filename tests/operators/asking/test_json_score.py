"""Ratings in a JSON reply."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.asking.ratings import (
    Rating,
    json_score,
)


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
@pytest.mark.fault(
    "a judge's reply is no rating",
    how="any JSON value, generated",
    holds="a score on the scale, or a reason",
)
def test_json_score_any_value_has_a_score_on_the_scale_or_a_reason(value):
    found = json_score(json.dumps({"score": value}), 0, 5)
    usable = isinstance(value, float) and 0 <= value <= 5
    assert found.score == (value if usable else None)
    assert (found.outcome == "") == usable
