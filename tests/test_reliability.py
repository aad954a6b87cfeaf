"""docs/reliability.md says what the tests do: `pytest tests/test_reliability.py`."""

from dataclasses import replace

from tests.reliability import PAGE, UNTIMED, Row, Times, faults, marked, reasons, text, written

PASSES = """import pytest
@pytest.mark.parametrize("number", [1, 2])
def test_passes(number): ...
"""


def untimed(rows):
    return sorted((replace(row, seconds=UNTIMED) for row in rows), key=lambda row: (row.test, row.fault))


def test_the_page_has_a_row_for_each_test_that_injects_a_fault_and_no_other():
    assert untimed(written()) == untimed(marked())
    assert PAGE.read_text() == text(sorted(written(), key=lambda row: row.test)), "make reliability writes it anew"


def test_every_fault_is_injected_or_has_a_reason():
    known = [name for names in faults().values() for name in names]
    assert len(known) == len(set(known))
    assert reasons().keys() <= set(known)
    assert {row.fault for row in marked()} <= set(known)
    assert set(known) - {row.fault for row in marked()} <= reasons().keys()
    assert not [row for row in marked() if "|" in row.how + row.holds]


def test_the_page_notes_the_seconds_of_what_ran_and_keeps_those_of_others(tmp_path):
    first, second, third = marked()[:3]
    page = tmp_path / "page.md"
    page.write_text(text([replace(first, seconds="7.5"), replace(second, seconds="8.5"), third]))
    times = Times(page)

    class Report:
        nodeid, outcome, when, duration = f"{first.test}[1]", "passed", "call", 1.25

    times.pytest_runtest_logreport(Report)  # type: ignore[arg-type]
    Report.nodeid = f"{first.test}[2]"
    times.pytest_runtest_logreport(Report)  # type: ignore[arg-type]
    Report.nodeid, Report.outcome = third.test, "failed"
    times.pytest_runtest_logreport(Report)  # type: ignore[arg-type]
    times.pytest_sessionfinish()
    found = {row.test: row.seconds for row in written(page)}
    assert [found[row.test] for row in (first, second, third)] == ["2.5", "8.5", "failed"]
    assert Row.of(first.line()) == first
