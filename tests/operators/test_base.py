"""Canonical JSON: one spelling for equal values, and none for what has no stable form."""

import pytest

from operators.base import canonical_json


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, len, object(), {1: 2}, b"bytes", float("inf")])
def test_canonical_json_refuses_what_has_no_stable_form(value):
    with pytest.raises((TypeError, ValueError), match="canonical JSON"):
        canonical_json({"a": [value]})


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": 1, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1}'
