"""The page about formats: `pytest tests/jobs/engine/ingest/test_documented.py`."""

from pathlib import Path

from jobs.engine.ingest import documented

PAGE = Path(__file__).parents[4] / "docs" / "formats.md"


def test_the_page_has_the_tables_that_the_code_makes():
    page = PAGE.read_text()
    for line in documented.lines():
        assert line in page.splitlines()
