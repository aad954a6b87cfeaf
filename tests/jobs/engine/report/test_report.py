"""The report and the dataset card of pretend runs."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.engine.execute.session import Session
from jobs.engine.outcome import ledger
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.pool import Pool
from jobs.engine.report import measures
from jobs.engine.report.card import write_card
from jobs.engine.report.report import write_report
from jobs.engine.store.store import Store
from operators.base import Operator
from operators.sample import SAMPLE, text_sha

SOURCE, OTHER = "/data/chat/a.jsonl", "/data/code/b|<b>.json"
HOSTILE = (
    "<script>alert(1)</script></script><img src=x onerror=alert(2)>\u202egnp.exe\u202c zero\u200b\u200bwidth & עברית"
)
POEM = "Ода\nв пять строк\nбез рифмы\n\nи ещё\nодна\nстрока\n" * 30


class Length(Operator):
    """An operator that is never loaded here."""


@pytest.fixture
def outcome_of(tmp_path):
    """Makes the outcome of a run over a pool of so many samples that keeps those ids: outcome_of(40, [3, 1])."""

    def make(samples, ids, *, failed=(), quarantine=(), duplicates=0, recipe="at_random", said=None, **decided):
        pool = _pool(tmp_path / "pool", samples, quarantine, duplicates, said or {})
        if failed:
            pool = replace(pool, features={"length": _feature(pool, failed)})
        chosen = pool.select(ids, reasons={"not drawn": np.arange(samples), "drawn at random": ids}, **decided)
        counts = ledger.write_ledger(pool, chosen, ledger.failures(chosen), tmp_path / "selection.parquet")
        return Outcome(tmp_path, pool, chosen, counts, _manifest(pool, counts, recipe))

    return make


def _pool(folder, samples, quarantine, duplicates, contents) -> Pool:
    folder.mkdir()
    rows = []
    for number in range(samples):
        said, answered = (
            (HOSTILE, POEM) if number == 0 else (f"Question {number}?", f"Answer {number}. " * (number % 7))
        )
        if number in contents:
            said, answered = contents[number], contents[number]
        messages = [{"role": "user", "content": said}, {"role": "assistant", "content": answered}] * (1 + number % 2)
        raw = json.dumps({"instruction": said, "output": answered}).encode()
        source = OTHER if number % 4 == 3 else SOURCE
        shas = {"sha": text_sha(messages), "text_sha": text_sha(messages)}
        rows.append({"id": number, **shas, "source": source, "line": number + 1, "messages": messages, "raw": raw})
    pq.write_table(pa.Table.from_pylist(rows, SAMPLE), folder / "part-0.parquet", row_group_size=16)
    repeated = {"source": [SOURCE] * duplicates, "line": range(900, 900 + duplicates), "id": [0] * duplicates}
    ledger_types = pa.schema([("source", pa.string()), ("line", pa.int64()), ("id", pa.int64())])
    pq.write_table(pa.table(repeated, ledger_types), folder / "duplicates.parquet")
    (folder / "quarantine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in quarantine))
    sources = [
        {"uri": uri, "bytes": 4096, "records": count, "samples": count, "sha256": "ab" * 32, "formats": formats}
        for uri, count, formats in (
            (SOURCE, samples - samples // 4, {"alpaca": 1}),
            (OTHER, samples // 4, {"alpaca": 1, "dolly": 1}),
        )
    ]  # fmt: skip
    facts = {"samples": samples, "records": samples + duplicates + len(quarantine), "duplicates": duplicates,
             "quarantined": len(quarantine), "fingerprint": "cd" * 32, "text_fingerprint": "cd" * 32,
             "sources": sources, "examples": {},
             "parts": [{"file": "part-0.parquet", "first": 0, "rows": samples}]}  # fmt: skip
    (folder / "pool.json").write_text(json.dumps(facts))
    return Pool.open(str(folder), Session(Store(str(folder.parent / "store"))))


def _feature(pool, failed):
    feature = pool.session.store.feature(Length(), pool.facts["fingerprint"])
    told = failed if isinstance(failed, dict) else dict.fromkeys(failed, "too_long: <i>812</i> tokens")
    errors = [told.get(number) for number in range(pool.samples)]
    values = pa.array([None if error else 1 for error in errors], pa.int64())
    feature.write(np.arange(pool.samples), pa.array([b"0" * 16] * pool.samples), values, errors)
    return feature


def _manifest(pool, counts, recipe):
    model = {"name": "sentence-transformers/all-MiniLM-L6-v2", "revision": "c9745ed1"}
    return {
        "winnow_manifest": 1,
        "run": {"recipe": recipe, "inputs": ["/data"], "as_published": False,
                "fields": {"budget": "5%", "seed": 7, "length": {"model": model, "prompt": "Rate:\n```\n{text}\n```"}}},
        "counts": {"records": pool.facts["records"], **counts},
        "pool": {"folder": pool.folder, "fingerprint": pool.facts["fingerprint"], "sources": pool.facts["sources"]},
        "verbs": [{"read": ["/data"], "sources": [], "seconds": 0.5},
                  {"map": "length", "operator": "Length", "fingerprint": "ef" * 32,
                   "made_of": [{"model": model, "identity": model}], "samples": 40,
                   "stored": 30, "taken_over": 4, "computed": 6, "failed": 2,
                   "seconds": 1.2},
                  {"reduce": "kmeans", "columns": ["length"], "samples": 38, "seconds": 0.1}],
        "seconds": 2.5, "finished": "2026-01-02T03:04:05+00:00",
        "command": "python -m jobs.curate at_random /data --out out budget=5%", "versions": {"python": "3.11.7"},
    }  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of the report: elements with their attributes, the scripts, and the text."""

    def __init__(self, path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(path.read_text("utf-8"))

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
        return {figure["id"]: figure for figure in json.loads(self.scripts[0])}


def _report(outcome):
    path = outcome.folder / "report.html"
    write_report(outcome, path)
    assert path.stat().st_size < 6e6
    assert sorted(left.name for left in outcome.folder.iterdir() if "tmp" in left.name) == []
    return Page(path)


FAULTY = [
    {
        "source": SOURCE,
        "line": 41,
        "reason": "malformed_json",
        "message": "column 3",
        "raw": "{<script>alert(3)</script>",
    },
    {"source": SOURCE, "line": None, "reason": "invalid_utf8", "message": "byte 0xff", "raw_base64": "//4h"},
]


def _full(outcome_of):
    scored = np.arange(2, 40)
    centroid = (np.arange(40), np.arange(40) % 5)
    details = {"centroid": centroid, "distance": (scored, 2.0 / scored)}
    return outcome_of(40, [0, 12, 30, 31], failed=(4, 9), quarantine=FAULTY, duplicates=3,
                      score=(scored, 1 / scored), details=details)  # fmt: skip


def test_report_loads_nothing_and_runs_only_its_own_scripts(outcome_of):
    page = _report(_full(outcome_of))
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


def test_report_counts_add_up(outcome_of):
    outcome = _full(outcome_of)
    page = _report(outcome)
    assert dict(outcome.counts) == {"kept": 4, "dropped": 34, "duplicate": 3, "quarantined": 4}
    assert "4 + 34 + 3 + 4 = 45 records in." in page.text
    html = (outcome.folder / "report.html").read_text("utf-8")
    rows = re.findall(r"<tr>(.*?)</tr>", html[html.index('id="reasons"') : html.index('id="what-ran"')])
    counts = [int(re.findall(r'<td class="number">(\d+)</td>', row)[0]) for row in rows[1:]]
    assert counts[-1] == sum(counts[:-1]) == 45
    assert "drawn at random" in html
    assert "length: too_long" in html
    assert "ingest: invalid_utf8" in html


def test_report_hostile_text_is_shown_and_harmless(outcome_of):
    outcome = _full(outcome_of)
    page = _report(outcome)
    assert len(page.scripts) == 3
    assert not page.attributes("b|<b>")
    assert "<script>alert(1)</script></script><img src=x onerror=alert(2)>" in page.text
    assert "{<script>alert(3)</script>" in page.text
    assert "<i>812</i>" in page.text
    assert "code/b|<b>.json" in page.text
    assert "\\xff\\xfe!" in page.text
    assert "U+202Egnp.exeU+202C zeroU+200B ×2width & עברית" in page.text
    assert not set("\u202e\u202c\u200b") & set(page.text)


def test_report_draws_lengths_scores_ranks_and_coverage(outcome_of):
    figures = _report(_full(outcome_of)).figures
    assert [*figures] == ["chart-response-length", "chart-instruction-length", "chart-scores", "chart-rank-0",
                          "chart-rank-1", "chart-coverage"]  # fmt: skip
    for name in ("chart-response-length", "chart-instruction-length", "chart-scores"):
        for line in figures[name]["data"]:
            assert sum(line["y"][:-1]) == pytest.approx(100, abs=0.01)
    # Sample 0 has no score: the curve begins at rank 2.
    assert figures["chart-rank-0"]["data"][0]["x"] == [2, 3, 4]
    kept, size = zip(*[bar[1:] for bar in figures["chart-coverage"]["data"][0]["customdata"]], strict=True)
    assert sum(kept) == 4
    assert size == (8, 8, 8, 8, 8)


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
    assert "0 of 2 centroids" in page.text


def test_report_of_a_large_pool_says_that_it_looked_at_a_part(outcome_of, monkeypatch):
    monkeypatch.setattr(measures, "LOOKED_AT", 15)
    outcome = outcome_of(60, np.arange(20))
    measured = measures.measures(outcome)
    assert measured.of_pool.sum() == 15
    assert measured.of_kept.sum() == 15
    monkeypatch.setattr("jobs.engine.report.report.LOOKED_AT", 15)
    assert "From a random 15 of the 60 pool samples and a random 15 of the 20 kept samples." in _report(outcome).text


def test_report_twice_is_the_same(outcome_of):
    outcome = _full(outcome_of)
    _report(outcome)
    first = (outcome.folder / "report.html").read_bytes()
    _report(outcome)
    assert (outcome.folder / "report.html").read_bytes() == first


def test_report_long_conversations_are_cut(outcome_of, tmp_path):
    outcome = outcome_of(1, [0])
    table = pq.read_table(outcome.pool.folder + "/part-0.parquet").to_pylist()
    table[0]["messages"] = [{"role": "user", "content": "\u200b\u200d<" * 4_000}] * 50
    pq.write_table(pa.Table.from_pylist(table, SAMPLE), outcome.pool.folder + "/part-0.parquet")
    page = _report(outcome)
    assert "and 42 more messages" in page.text
    assert "show the first 4,000 of 12,000 characters" in page.text


def test_report_measures_turns_formats_and_sources(outcome_of):
    measured = measures.measures(outcome_of(40, [3, 7]))
    shares = {name: measures.composition(labels, measured) for name, labels in measured.labels.items()}
    assert shares["source file"] == [(SOURCE, 0.75, 0.0, 0.0), (OTHER, 0.25, 1.0, 0.0)]
    assert shares["format"] == [("alpaca", 1.0, 1.0, 0.0)]
    assert shares["turns"] == [("1", 0.5, 0.0, 0.0), ("2", 0.5, 1.0, 0.0)]


def test_report_tells_by_script_what_was_kept_and_what_no_model_could_read(outcome_of):
    said = {2: "小笼包是什么？", 3: "请介绍一下长江。", 4: "东京在哪里？", 9: "ช่วยอธิบาย"}
    failed = {2: "unreadable: 67% of the text", 3: "unreadable: 60% of the text", 9: "unreadable: 100% of the text",
              5: "too_long: 900 tokens"}  # fmt: skip
    outcome = outcome_of(20, [1, 4], failed=failed, said=said)
    measured = measures.measures(outcome)
    shares = {share.label: share[1:] for share in measures.composition(measured.labels["script"], measured)}
    assert shares == {"Latin": (0.75, 0.5, 0.0), "Cyrillic": (0.05, 0.0, 0.0), "Han": (0.15, 0.5, 2 / 3),
                      "Thai": (0.05, 0.0, 1.0)}  # fmt: skip
    _report(outcome)
    html = (outcome.folder / "report.html").read_text("utf-8")
    panel = html[html.index("<h3>By script</h3>") : html.index("<h3>By turns</h3>")]
    assert "<span>unreadable</span>" in panel
    rows = re.findall(r'class="name">(\w+)</span>.*?((?:<span[^>]*>[^<]*</span>)+)</div>', panel)
    assert {name: re.findall(r">([^<]+)<", cells) for name, cells in rows} == {
        "Latin": ["75%", "50%", "\xd70.67", "0%"],
        "Han": ["15%", "50%", "\xd73.33", "66.7%"],
        "Cyrillic": ["5%", "0%", "\xd70", "0%"],
        "Thai": ["5%", "0%", "\xd70", "100%"],
    }
    assert html.count("<span>unreadable</span>") == 1


def _card(outcome):
    path = outcome.folder / "README.md"
    write_card(outcome, path)
    _, header, body = path.read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(header), body


def test_card_header_is_yaml_and_guesses_nothing(outcome_of):
    header, _ = _card(_full(outcome_of))
    assert header["license"] == "other"
    assert "language" not in header
    assert header["size_categories"] == ["n<1K"]
    assert "at_random" in header["tags"]
    assert header["source_files"] == ["chat/a.jsonl", "code/b|<b>.json"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "selected.jsonl"}]


def test_card_says_what_how_and_how_to_repeat(outcome_of):
    _, body = _card(_full(outcome_of))
    assert "winnow curate --config manifest.yaml --out again" in body
    assert "python -m jobs.curate at_random /data --out out budget=5%" in body
    assert "The control: a random choice" in body
    assert "seed: 7" in body
    assert "sentence-transformers/all-MiniLM-L6-v2 (revision c9745ed1)" in body
    assert "ab" * 32 in body
    assert "cd" * 32 in body
    assert "| kept | 4 |" in body
    assert "````yaml\n" in body
    assert "b\\|&lt;b&gt;.json" in body
    assert "check them before" in body


def test_card_names_a_local_model_by_its_content(outcome_of):
    outcome = outcome_of(10, [1], failed=(2,))
    (used,) = outcome.manifest["verbs"][1]["made_of"]
    used["identity"] = {"content": "0123456789abcdef" * 4}
    assert "(content 0123456789abcdef)" in _card(outcome)[1]


def test_card_of_hub_sources_names_the_datasets(outcome_of):
    outcome = outcome_of(10, [1], recipe="not_a_recipe")
    outcome.manifest["pool"]["sources"][0]["uri"] = "hf://datasets/tatsu-lab/alpaca@main/data/train.parquet"
    header, body = _card(outcome)
    assert header["source_datasets"] == ["tatsu-lab/alpaca"]
    assert "## Method\n\nnot_a_recipe\n" in body
