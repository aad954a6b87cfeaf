"""The report of pretend runs, read as a browser would read it."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.engine.report import measures
from jobs.engine.report.report import write_report
from operators.embedding.embed import Embed
from operators.sample import SAMPLE
from tests.jobs.engine.report.pretend import HOSTILE_TEXTS


class Page(HTMLParser):
    """What a browser would make of the report: elements with their attributes, the scripts, and the text."""

    def __init__(self, page):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.html = page
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def figures(self):
        return {f"chart-{figure['name']}": figure for figure in json.loads(self.scripts[0])}


def _report(outcome):
    write_report(outcome)
    page = outcome.desk.out.content("report.html")
    assert len(page) < 8e6
    assert [left for left in outcome.desk.out.names() if left.endswith(".tmp")] == []
    return Page(page.decode())


TAGS = {
    *("a", "article", "b", "body", "details", "div", "h1", "h2", "h3", "head", "header", "html", "i", "main", "meta"),
    *("nav", "p", "pre", "script", "section", "span", "style", "summary", "table", "tbody", "td", "th", "thead"),
    *("title", "tr"),
}
"""The elements of a page that shows everything there is to show."""


def test_report_loads_nothing_and_runs_only_its_own_scripts(full):
    page = _report(full)
    assert [
        each for _, attributes in page.elements for each in attributes if each in ("src", "srcset", "onerror")
    ] == []
    assert not page.attributes("link")
    assert not page.attributes("img")
    assert not page.attributes("iframe")
    assert all(each["href"].startswith(("#", "https://arxiv.org/abs/")) for each in page.attributes("a"))
    data, plotly, draw = page.scripts
    assert "plotly.js v" in plotly[:100]
    assert "<" not in data
    policy = next(each["content"] for each in page.attributes("meta") if "http-equiv" in each)
    assert "default-src 'none'" in policy
    for executed in (plotly, draw):
        assert base64.b64encode(hashlib.sha256(executed.encode()).digest()).decode() in policy


def test_report_counts_add_up(full):
    page = _report(full)
    assert dict(full.counts) == {"kept": 4, "dropped": 34, "duplicate": 3, "quarantined": 4}
    assert "4 + 34 + 3 + 4 = 45 records in." in page.text
    rows = re.findall(r"<tr>(.*?)</tr>", page.html[page.html.index('id="reasons"') : page.html.index('id="what-ran"')])
    counts = [int(re.findall(r'<td class="number">(\d+)</td>', row)[0]) for row in rows[1:]]
    assert counts[-1] == sum(counts[:-1]) == 45
    assert "drawn at random" in page.text
    assert "length: too_long" in page.text
    assert "ingest: invalid_utf8" in page.text


@pytest.mark.fault(
    "a record carries markup",
    how="scripts, tags and closing quotes in records",
    holds="the report shows them as text",
)
def test_report_hostile_text_is_shown_and_harmless(full):
    page = _report(full)
    assert len(page.scripts) == 3
    assert {name for name, _ in page.elements} == TAGS
    assert "<script>alert(1)</script></script><img src=x onerror=alert(2)>" in page.text
    assert "{<script>alert(3)</script>" in page.text
    assert "<i>812</i>" in page.text
    assert "code/b|<b>.json" in page.text
    assert "\\xff\\xfe!" in page.text
    assert "U+202Egnp.exeU+202C zeroU+200B ×2width & עברית" in page.text
    assert not set("\u202e\u202c\u200b") & set(page.text)


def test_report_shows_hostile_texts_of_samples_sources_and_fields_as_they_are(outcome_of):
    said = {**dict(enumerate(HOSTILE_TEXTS)), 10: "长" * 100_000, 11: "harmless"}
    name = "/data/code/" + "".join(HOSTILE_TEXTS).replace("/", "")
    details = {"{{7*7}}</script>\u2028": (np.arange(12), np.linspace(0, 1, 12))}
    outcome = outcome_of(
        12, np.arange(12), said=said, other=name, details=details, failed=dict(enumerate(HOSTILE_TEXTS))
    )
    outcome.manifest["run"]["fields"].update({text: text for text in HOSTILE_TEXTS})
    page = _report(outcome)
    assert {name for name, _ in page.elements} <= TAGS
    assert len(page.scripts) == 3
    assert "alert" not in page.scripts[0] + page.scripts[2]
    assert {key for _, attributes in page.elements for key in attributes if key.startswith("on")} == set()
    assert all(each["href"].startswith(("#", "https://arxiv.org/abs/")) for each in page.attributes("a"))
    (samples,) = re.findall(r'<section id="best-and-worst">.*?</section>', page.html, re.DOTALL)
    texts = [
        html.unescape(re.sub("</?i>", "", text)) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", samples, re.DOTALL)
    ]
    for text in HOSTILE_TEXTS:
        assert re.sub("[\u202e\u202c\u2028\u2029\x00]", lambda found: f"U+{ord(found[0]):04X}", text) in texts
    assert "show the first 4,000 of 100,000 characters" in page.text
    assert page.html.count("长") < 10_000
    fields = html.unescape(
        re.findall(r'Fields of at_random</h3><pre class="code">(.*?)</pre>', page.html, re.DOTALL)[0]
    )
    assert {*HOSTILE_TEXTS[:7]} <= yaml.safe_load(re.sub("</?i>", "", fields)).keys()
    places = re.findall(r'<div class="where">(.*?)</div>', samples, re.DOTALL)
    assert "<i>U+202E</i>abc" in places[3]
    assert page.figures["chart-rank-1"]["layout"]["yaxis"]["title"]["text"] == "{{7*7}}</script>\u2028"


def test_report_draws_lengths_scores_ranks_and_coverage(full):
    page = _report(full)
    figures = page.figures
    assert [*figures] == ["chart-response-length", "chart-instruction-length", "chart-scores", "chart-detail-1",
                          "chart-rank-0", "chart-rank-1", "chart-coverage"]  # fmt: skip
    for name in ("chart-response-length", "chart-instruction-length", "chart-scores"):
        for line in figures[name]["data"]:
            assert sum(line["y"][:-1]) == pytest.approx(100, abs=0.01)
    # The kept 12, 30 and 31 have the scores 1/12, 1/30 and 1/31, and the failed 4 and 9 do not count as kept.
    cuts = [line["x0"] for line in figures["chart-scores"]["layout"]["shapes"]]
    assert cuts == pytest.approx([1 / 31, 1 / 12])
    assert "The kept ones go from 0.03226 to 0.08333, and 17 others lie between." in page.text
    assert "shapes" in figures["chart-detail-1"]["layout"]
    # Sample 0 has no score: the curve begins at rank 2.
    assert figures["chart-rank-0"]["data"][0]["x"] == [2, 3, 4]
    kept, size = zip(*[bar[1:] for bar in figures["chart-coverage"]["data"][0]["customdata"]], strict=True)
    assert sum(kept) == 4
    assert size == (8, 8, 8, 8, 8)


def test_report_draws_the_thresholds_of_a_detail(full):
    full.selection.facts["distance below"] = 0.25  # type: ignore[index] - the facts of a run are a plain dictionary
    page = _report(full)
    assert [line["x0"] for line in page.figures["chart-detail-1"]["layout"]["shapes"]] == [0.25]
    assert "Only samples with distance below 0.25 went on." in page.text


def test_report_has_the_best_and_the_worst_kept_and_the_best_dropped_side_by_side(outcome_of):
    kept = [*range(20, 32)]
    page = _report(outcome_of(40, kept, failed=(3, 39), score=(np.arange(1, 40), np.arange(1, 40) / 100)))
    columns = re.findall(
        r'<div class="column"><h3>([^<]+)</h3>(.*?)</div>\n(?=<div class="column">|</div>)', page.html, re.DOTALL
    )
    ids = {title: [int(each) for each in re.findall(r", id (\d+)</div>", column)] for title, column in columns}
    assert ids == {
        "Best kept": [20, 21, 22, 23, 24, 25],
        "Worst kept": [31, 30, 29, 28, 27, 26],
        "Best dropped": [38, 37, 36, 35, 34, 33],
    }
    assert "There is no map: the method compares no vectors" in page.text


def test_report_of_a_method_without_vectors_maps_the_default_embeddings_where_they_are_stored(outcome_of):
    outcome = outcome_of(12, [5, 6])
    feature = outcome.pool.session.store.feature(Embed(), outcome.pool.facts["text_fingerprint"])
    vectors = pa.array([[float(number), 1.0] for number in range(12)], pa.list_(pa.float32(), 2))
    feature.write(np.arange(12), pa.array([b"0" * 16] * 12), vectors, [None] * 12)
    page = _report(outcome)
    assert "of stored embeddings of another run: this method compares no vectors" in page.text
    assert [len(trace["x"]) for trace in page.figures["chart-map"]["data"]] == [0, 10, 2]


def test_report_of_many_centroids_has_a_histogram(outcome_of):
    outcome = outcome_of(600, [1, 2], details={"centroid": (np.arange(600), np.arange(600) % 300)})
    page = _report(outcome)
    assert "2 of 300 centroids have at least one kept sample" in page.text
    assert page.figures["chart-coverage"]["data"][0]["type"] == "scatter"


@pytest.mark.parametrize("decided", [{}, {"score": (np.arange(3), np.full(3, np.nan))}])
def test_report_without_scores_and_details_leaves_their_sections_out(outcome_of, decided):
    page = _report(outcome_of(10, [5, 6], **decided))
    assert [*page.figures] == ["chart-response-length", "chart-instruction-length"]
    assert {each.get("id") for each in page.attributes("section")}.isdisjoint({"scores", "coverage"})
    assert "None: every record was read" in page.text


def test_report_of_one_score_for_all_is_drawn(outcome_of):
    page = _report(outcome_of(10, [5, 6], score=(np.arange(10), np.full(10, 0.25))))
    assert "10 of 10 samples have a score." in page.text
    assert "chart-scores" in page.figures


def test_report_of_nothing_kept_says_so(outcome_of):
    outcome = outcome_of(10, np.empty(0, np.int64), details={"centroid": (np.arange(10), np.arange(10) % 2)})
    page = _report(outcome)
    assert "0 + 10 + 0 + 0 = 10 records in." in page.text
    assert "all 0 kept samples" in page.text
    assert "chart-coverage" not in page.figures


def test_report_of_a_large_pool_says_that_it_looked_at_a_part(outcome_of, monkeypatch):
    monkeypatch.setattr(measures, "DRAWN", 15)
    outcome = outcome_of(60, np.arange(20))
    measured = measures.measures(outcome, {})
    assert measured.of_pool.sum() == 15
    assert measured.of_kept.sum() == 15
    assert "From a random 15 of the 60 pool samples and a random 15 of the 20 kept samples." in _report(outcome).text


def test_report_twice_is_the_same(full):
    assert _report(full).html == _report(full).html


def test_report_long_conversations_are_cut(outcome_of):
    outcome = outcome_of(1, [0])
    table = pq.read_table(outcome.pool.folder + "/part-0.parquet").to_pylist()
    table[0]["messages"] = [{"role": "user", "content": "\u200b\u200d<" * 4_000}] * 50
    pq.write_table(pa.Table.from_pylist(table, SAMPLE), outcome.pool.folder + "/part-0.parquet")
    page = _report(outcome)
    assert "and 42 more messages" in page.text
    assert "show the first 4,000 of 12,000 characters" in page.text


def test_report_tells_by_script_what_was_kept_and_what_no_model_could_read(outcome_of):
    said = {2: "小笼包是什么？", 3: "请介绍一下长江。", 4: "东京在哪里？", 9: "ช่วยอธิบาย"}
    failed = {2: "unreadable: 67% of the text", 3: "unreadable: 60% of the text", 9: "unreadable: 100% of the text",
              5: "too_long: 900 tokens"}  # fmt: skip
    outcome = outcome_of(20, [1, 4], failed=failed, said=said)
    shares = measures.comparisons(measures.measures(outcome, {}))["script"]
    assert shares == [("Latin", 0.75, 0.5, 0.0), ("Han", 0.15, 0.5, 2 / 3), ("Cyrillic", 0.05, 0.0, 0.0),
                      ("Thai", 0.05, 0.0, 1.0)]  # fmt: skip
    page = _report(outcome)
    panel = page.html[page.html.index("<h3>By script</h3>") : page.html.index("<h3>By turns</h3>")]
    assert "<span>unreadable</span>" in panel
    rows = re.findall(r'class="name">(\w+)</span>.*?((?:<span[^>]*>[^<]*</span>)+)</div>', panel, re.DOTALL)
    assert {name: re.findall(r">([^<]+)<", cells) for name, cells in rows} == {
        "Latin": ["75%", "50%", "\xd70.67", "0%"],
        "Han": ["15%", "50%", "\xd73.33", "66.7%"],
        "Cyrillic": ["5%", "0%", "\xd70", "0%"],
        "Thai": ["5%", "0%", "\xd70", "100%"],
    }
    assert page.html.count("<span>unreadable</span>") == 1
