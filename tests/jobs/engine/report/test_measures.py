"""What the report measures of samples."""

from jobs.engine.report.measures import comparisons, measures
from tests.jobs.engine.report.pretend import OTHER, SOURCE


def test_report_measures_turns_formats_and_sources(outcome_of):
    shares = comparisons(measures(outcome_of(40, [3, 7]), {OTHER: "b.json"}))
    assert shares["source file"] == [(SOURCE, 0.75, 0.0, 0.0), ("b.json", 0.25, 1.0, 0.0)]
    assert shares["format"] == [("alpaca", 1.0, 1.0, 0.0)]
    assert shares["turns"] == [("1", 0.5, 0.0, 0.0), ("2", 0.5, 1.0, 0.0)]
