"""MTLD against values of the package lexicalrichness 0.5.1, and against its definition."""

import random

import pytest

from operators.kernels.mtld import mtld

QUESTION = (
    "to be or not to be that is the question whether tis nobler in the mind to suffer the slings and arrows of "
    "outrageous fortune or to take arms against a sea of troubles"
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("the cat sat on the mat and the dog sat on the log", 13.0),
        ("a a a a", 2.0),
        ("one two three four five six seven eight nine ten", 10.0),
        ("red red red blue", 4.0),
        ("word", 1.0),
        ("il pleut " * 400, 3.007518796992481),
        (QUESTION, 31.486756756756755),
    ],
)
def test_mtld_is_that_of_lexicalrichness(text, value):
    assert mtld(text.split()) == pytest.approx(value, rel=1e-12)


def by_definition(words, threshold) -> float:
    """Words per factor in one direction: each factor is the shortest beginning that repeats itself enough."""
    left, factors = list(words), 0.0
    while left:
        ends = [at for at in range(1, len(left) + 1) if len(set(left[:at])) / at <= threshold]
        if not ends:
            factors += (1 - len(set(left)) / len(left)) / (1 - threshold)
            break
        factors, left = factors + 1, left[ends[0] :]
    return len(words) / (factors or 1)


@pytest.mark.parametrize("threshold", [0.5, 0.72, 0.9])
def test_mtld_is_the_mean_of_both_directions(threshold):
    drawn = random.Random(0)
    for size in (1, 2, 7, 40, 90):
        words = [drawn.choice("abcdefghijk") for _ in range(size)]
        both = [by_definition(each, threshold) for each in (words, words[::-1])]
        assert mtld(words, threshold) == pytest.approx(sum(both) / 2, rel=1e-12)


def test_no_words_are_refused():
    with pytest.raises(ValueError, match="without words"):
        mtld([])
