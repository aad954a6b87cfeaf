"""The readings of the released code, with their faults."""

import math

import pytest

from operators.asking.ratings import (
    Rating,
    published_alpagasus,
    published_lift,
)


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
