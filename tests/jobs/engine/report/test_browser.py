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
from jobs.methods.instructmining.rule_fitting import fitted
from tests.jobs.engine.report.browser import Tab, chromium, tab
from tests.jobs.engine.report.pretend import FAULTY, HOSTILE_TEXTS
from tests.jobs.methods.instructmining.test_rule_fitting import asked, planted_runs

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


@pytest.mark.skipif(chromium() is None, reason="there is no Chromium")
def test_the_report_works_on_a_wide_screen_on_a_phone_and_on_paper(page, tmp_path):
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
            await opened.open(file, 1280)
            assert opened.complaints == []
            assert set(opened.requests) == {file.as_uri()}
            assert (await opened.printed()).startswith(b"%PDF")
            assert opened.complaints == []

    asyncio.run(looked_at())


RULE = """[".js-plotly-plot .errorbar", "#chart-agreement .points path"].map((each) =>
  document.querySelectorAll(each).length)"""
COMPARISON = """[document.querySelectorAll("#chart-overlaps .xtick text").length,
  document.querySelectorAll("#chart-overlaps .heatmaplayer image, #chart-overlaps .hm path").length > 0,
  document.querySelectorAll("#chart-losses .points path").length]"""


@pytest.mark.skipif(chromium() is None, reason="there is no Chromium")
def test_the_pages_of_a_rule_and_of_a_comparison_are_no_wider_than_their_window(tmp_path):
    for name in ("rule", "comparison"):
        (tmp_path / name).mkdir()
    write_rule_page(
        Folder.at(str(tmp_path / "rule")),
        rule=(found := fitted(runs := planted_runs(), asked())).rule,
        fits=found.fits,
        means={name: np.array([run.means[name] for run in runs]) for name in runs[0].means},
        losses=np.array([run.loss for run in runs]),
        doubts=["more of it predicts a higher loss"],
        left_out=found.constant,
        summary="24 fine-tunes",
        command="winnow fit-rule " + "in.jsonl " * 40,
    )
    names = [f"perplexity-of-the-middle-{number}" for number in range(20)]
    write_comparison_page(
        Folder.at(str(tmp_path / "comparison")),
        summary="20 selections",
        headings=["method", *(f"column {number}" for number in range(17))],
        rows=[[name, *["0.123"] * 17] for name in names],
        meanings=[("column 0", "what it says " * 20)],
        overlaps={one: dict.fromkeys(names, 0.5) for one in names},
        losses=dict.fromkeys(names, (1.5, 1.4, 1.6)),
        notes=[],
        command="winnow compare " + " ".join(names),
    )

    async def looked_at() -> None:
        async with tab(tmp_path / "browser") as opened:
            for width in (1280, 390):
                await opened.open(tmp_path / "rule" / "report.html", width)
                await _fits(opened, width)
                assert await opened.value(RULE) == [len(found.rule.coefficients), len(runs)]
                await opened.open(tmp_path / "comparison" / "report.html", width)
                await _fits(opened, width)
                assert await opened.value(COMPARISON) == [20, True, 20]  # no name is left out
            assert opened.complaints == []
            asked = {address for address in opened.requests if not address.startswith("data:")}  # a heatmap is one
            assert asked == {(tmp_path / name / "report.html").as_uri() for name in ("rule", "comparison")}

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
