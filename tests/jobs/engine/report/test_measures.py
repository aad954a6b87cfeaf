"""What the report measures of samples, and the scripts that it tells apart."""

import pytest

from jobs.engine.report.measures import comparisons, measures
from jobs.engine.report.script import script
from tests.jobs.engine.report.pretend import OTHER, SOURCE


def test_report_measures_turns_formats_and_sources(outcome_of):
    shares = comparisons(measures(outcome_of(40, [3, 7]), {OTHER: "b.json"}))
    assert shares["source file"] == [(SOURCE, 0.75, 0.0, 0.0), ("b.json", 0.25, 1.0, 0.0)]
    assert shares["format"] == [("alpaca", 1.0, 1.0, 0.0)]
    assert shares["turns"] == [("1", 0.5, 0.0, 0.0), ("2", 0.5, 1.0, 0.0)]


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
