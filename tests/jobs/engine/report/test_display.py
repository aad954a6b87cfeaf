"""How texts and numbers are shown."""

import doctest

import pytest

from jobs.engine.report import display, origin
from jobs.engine.report.display import clipped


@pytest.mark.parametrize("module", [display, origin])
def test_what_the_docstrings_show_is_what_comes_out(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert tried.failed == 0


def test_a_long_text_is_cut_and_says_how_long_it_is():
    assert clipped("字" * 12, 12) == "字" * 12
    assert clipped("字" * 1200, 3) == "字字字 … (cut here: 1,200 characters in all)"


def test_a_letter_keeps_its_accents():
    assert clipped("abce\u0301\u0323fg", 4).startswith("abc …")
    assert clipped("abce\u0301\u0323fg", 5).startswith("abc …")
    assert clipped("abce\u0301\u0323fg", 6).startswith("abce\u0301\u0323 …")
