"""The report in a browser, on a wide screen and on a phone."""

import asyncio
import json
import time

import numpy as np
import pytest

from jobs.engine.report.comparison_page import write_comparison_page
from jobs.engine.report.display import plain
from jobs.engine.report.report import write_report
from jobs.engine.report.rule_page import write_rule_page
from jobs.engine.store.folder import Folder
from operators.kernels.linear_fit import best_fits, fit
from tests.jobs.engine.report.browser import Tab, chromium, tab
from tests.jobs.engine.report.pretend import FAULTY, HOSTILE_TEXTS

MARKED = """[...document.querySelectorAll(".chart")].map((chart) =>
  [chart.id, chart.querySelectorAll(".points path, .js-line, .bars path").length])"""
DRAWN = """[...document.querySelectorAll(".chart")].every((chart) => chart.querySelector(".points path, .hm image"))"""
OUTSIDE = """[...document.querySelectorAll(".chart svg")].filter((drawn) => drawn.getBoundingClientRect().right >
  drawn.closest(".panel").getBoundingClientRect().right).map((drawn) => drawn.closest(".chart").id)"""
LINES = """Math.max(...[...document.querySelectorAll("section:first-of-type tbody td:first-child")].map((cell) => {
  const text = document.createRange(); text.selectNodeContents(cell); return text.getClientRects().length; }))"""
STORY = """[...document.querySelectorAll("#map-story pre")].map((text) => text.textContent)"""
HEADER = """document.getElementById("map-story").innerText"""
COUNT = """document.getElementById("map-count").textContent"""
PLACE = """(() => { const {x, y, width, height} = document.querySelectorAll("#chart-map .points path")[0]
  .getBoundingClientRect(); return [x + width / 2, y + height / 2]; })()"""

FILTERED = (
    ("script", "Arabic", "1 of 38 samples shown, 1"),
    ("state", "kept", "5 of 38 samples shown, 5"),
    ("state", "quarantined", "2 of 38 samples shown, 0"),
    ("reason", "length: too_long", "2 of 38 samples shown, 0"),
)


@pytest.fixture
def page(outcome_of):
    """The path of a report with everything on it: hostile texts, near-duplicates, a grown pool, errors."""
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    vectors[3] = vectors[2] + 1e-3
    outcome = outcome_of(
        40,
        [8, 7, 2, 3, 30],
        said=dict(enumerate(HOSTILE_TEXTS)),
        failed=(35, 36),
        quarantine=FAULTY,
        duplicates=2,
        vectors=vectors[:38],
        parents={30: 4, 31: 5},
        score=(np.arange(40), np.arange(40) / 40),
        details={"centroid": (np.arange(40), np.arange(40) % 5), "distance": (np.arange(40), np.arange(40) / 9)},
    )
    write_report(outcome)
    return outcome.desk.out


@pytest.fixture
def tables(tmp_path):
    """The paths of a comparison of 19 selections, and of a fitted rule."""
    compared, fitted = (Folder.at(str(tmp_path / name)) for name in ("compared", "fitted"))
    for folder in (compared, fitted):
        folder.make()
    names = [f"random-{number}" for number in range(3)] + [f"instructmining-{number}" for number in range(16)]
    headings = ["method", "mean distance", "near-duplicates", *(f"held-out loss {number}" for number in range(12))]
    write_comparison_page(
        compared,
        summary="/a/long/path/of/a/corpus/alpaca_9k.jsonl, /a/long/path/of/a/corpus/dolly_3k.jsonl: budget 5%",
        headings=headings,
        rows=[[name, *("6.0123 [5.9, 6.1]" for _ in headings[1:])] for name in names],
        meanings=[
            (heading, "largest distance of a sample of the pool to the nearest kept one") for heading in headings
        ],
        overlaps={one: {other: 0.1 * (one != other) for other in names} for one in names},
        losses={name: (6.0 + at, 5.5 + at, 6.5 + at) for at, name in enumerate(names)},
        notes=["ltd: not compared: no model"],
        command=f"winnow compare {' '.join(names)} corpus.jsonl --out o",
    )
    drawn = np.random.default_rng(0).normal(size=(3, 24))
    means: dict[str, np.ndarray] = dict(zip(("understandability", "naturalness", "coherence"), drawn, strict=True))
    losses = np.exp(2 + 0.1 * drawn[0] - 0.2 * drawn[1])
    rule = fit(means, np.log(losses))
    told = {"doubts": ["few sets"], "left_out": ["knn"], "summary": "24 sets", "command": "winnow fit-rule"}
    write_rule_page(fitted, rule=rule, fits=best_fits(means, np.log(losses)), means=means, losses=losses, **told)
    return [tmp_path / name / "report.html" for name in ("compared", "fitted")]


@pytest.mark.skipif(chromium() is None, reason="there is no Chromium")
def test_the_report_works_on_a_wide_screen_on_a_phone_and_on_paper(page, tables, tmp_path):
    text = page.content("report.html").decode()
    assert "Shown: all 5 kept samples and all 33 others, placed by the first two principal components" in text
    assert "2 samples have no vector and are not on the map." in text
    assert "2 of 5 kept samples have a cosine similarity of at least 0.95 to another." in text
    assert "2 samples of the pool were made by rewriting others, and 1 of them are kept." in text
    file = tmp_path / "report.html"
    assert file.exists()

    async def looked_at() -> None:
        async with tab(tmp_path / "browser") as opened:
            for width in (1280, 390):
                await opened.open(file, width)
                await _is_whole(opened, width)
                await _tells_stories(opened)
                await _filters(opened)
                for other in tables:
                    await opened.open(other, width)
                    await _fits(opened, width)
            await opened.open(file, 1280)
            assert opened.complaints == []
            asked = {address for address in opened.requests if not address.startswith("data:")}  # a heatmap is one
            assert asked == {each.as_uri() for each in (file, *tables)}
            assert (await opened.printed()).startswith(b"%PDF")
            assert opened.complaints == []

    asyncio.run(looked_at())


async def _is_whole(opened: Tab, width: int) -> None:
    """Every figure has marks, and nothing is wider than the window."""
    marks = await opened.value(MARKED)
    assert len(marks) == 8
    assert [name for name, count in marks if not count] == []
    assert await opened.value("document.documentElement.scrollWidth") == width
    assert await opened.value("document.scripts.length") == 4


async def _fits(opened: Tab, width: int) -> None:
    """Charts have marks and stay in their panels, nothing is wider than the window, and a name is on one line."""
    await _until(opened, DRAWN)
    assert await opened.value("document.documentElement.scrollWidth") == width
    assert await opened.value(OUTSIDE) == []
    assert await opened.value(LINES) == 1


async def _tells_stories(opened: Tab) -> None:
    """The keyboard and the pointer reach the samples, whose texts are shown as they are."""
    await opened.value("document.getElementById('chart-map').focus()")
    for rank, number in enumerate((8, 7, 2), start=1):
        await opened.press("Enter")
        assert {*await opened.value(STORY)} == {plain(HOSTILE_TEXTS[number])}
        assert f"kept, rank {rank}" in await opened.value(HEADER)
    assert await opened.value("document.getElementById('map-ring').hidden") is False
    before = await opened.value(HEADER)
    await opened.press("ArrowLeft")
    left = await opened.value(HEADER)
    await opened.press("ArrowRight")
    assert left != before or await opened.value(HEADER) != before
    await opened.press("Escape")
    assert await opened.value(STORY) == []
    assert await opened.value("document.getElementById('map-ring').hidden") is True
    await opened.value("document.getElementById('chart-map').scrollIntoView({block: 'center'})")
    place = await opened.value(PLACE)
    await opened.point(*place, click=False)
    await _until(opened, "!document.getElementById('map-tip').hidden")
    await opened.point(*place, click=True)
    await _until(opened, "document.querySelectorAll('#map-story pre').length > 1")
    assert "id " in await opened.value(HEADER)
    assert (
        await opened.value("document.querySelectorAll('#map-story img, #map-story script, #map-tip img').length") == 0
    )


async def _filters(opened: Tab) -> None:
    """A filter leaves the samples of one state or script on the map, and the rest faint."""
    assert await opened.value(COUNT) == "38 of 38 samples shown, 5 of them kept."
    for name, option, said in FILTERED:
        found = await opened.value(_choosing(name, option))
        assert found.startswith(said), (name, option, found)
        drawn = await opened.value("document.getElementById('chart-map').data.map((trace) => trace.x.length)")
        assert sum(drawn) == 38
        assert drawn[0] == 38 - int(said.split()[0])
        await opened.value(_choosing(name, "all"))


def _choosing(name: str, option: str) -> str:
    """An expression that sets a filter to an option, and gives what the page says is shown."""
    return f"""(() => {{
      const select = document.getElementById("map-{name}");
      select.value = [...select.options].find((each) => each.text == {json.dumps(option)}).value;
      select.dispatchEvent(new Event("change"));
      return {COUNT};
    }})()"""


async def _until(opened: Tab, condition: str) -> None:
    until = time.monotonic() + 60
    while not await opened.value(condition):
        assert time.monotonic() < until, condition
        await asyncio.sleep(0.05)
