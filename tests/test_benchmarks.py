"""The benchmarks start from a clean checkout: without data of others, and without the tests."""

import importlib
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.operators.asking.engines import engine as engine  # a fixture

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def ran(monkeypatch, capsys, name, *words) -> str:
    """What a benchmark prints."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    importlib.import_module(f"benchmarks.{name}").main()
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_wants_no_argument_and_nothing_of_the_tests(monkeypatch, capsys, name):
    assert not re.search(r"^\s*(from|import) tests\b", (FOLDER / f"{name}.py").read_text(), re.MULTILINE)
    with pytest.raises(SystemExit) as ended:
        ran(monkeypatch, capsys, name, "--help")
    assert ended.value.code == 0
    usage = capsys.readouterr().out.partition("\n\n")[0].removeprefix("usage: ").split(maxsplit=1)[1]
    while usage != (inner := re.sub(r"\[[^][]*\]", "", usage)):
        usage = inner
    assert not usage.split()


def test_gpu_prints_a_line_each_that_names_the_device(monkeypatch, capsys, engine):  # vLLM itself takes a minute
    rated = []
    engine.says = staticmethod(lambda tokens: rated.append(tuple(tokens)) or "4")
    names = ["k_center", "kmeans", "embed", "embed_large", "loss", "less", "judge"]
    found = [json.loads(line) for line in ran(monkeypatch, capsys, "gpu", "--small", *names).splitlines()]
    assert [line["of"] for line in found] == names
    for line in found:
        assert line["device"]
        assert min(line[name] for name in ("seconds", "naive_seconds", "roofline_seconds", "rows_a_second")) > 0
    # vLLM would compute a prompt once, and the one that is timed would be the second.
    assert len(set(rated)) == len(rated) > found[-1]["rows"]


def test_lobass_length_makes_its_data_or_takes_it(monkeypatch, capsys, tmp_path):
    sizes = ("--samples", 24, "--hidden", 16)
    made = json.loads(ran(monkeypatch, capsys, "lobass_length", *sizes))
    assert 12 < made["samples"] <= 24
    rows = [{"instruction": f"Name {i}", "output": f"{i} is a number"} for i in range(48)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = json.loads(ran(monkeypatch, capsys, "lobass_length", "--data", tmp_path / "data.jsonl", *sizes))
    assert (given["samples"], given["read_before"]) == (24, 24)
    assert given["reference_loss"] < given["base_loss"]


def test_evidence_plants_each_kind_and_keeps_apart_what_is_no_corpus():
    from benchmarks._evidence_data import HELD_OUT, KINDS, planted

    data = planted(600, seed=3)
    (kept,) = data.files.values()
    kinds = [record["kind"] for record in kept]
    assert (len(kept), kinds.count("wrong")) == (600, 60)
    assert all(kinds.count(kind) >= 5 for kind in KINDS)
    assert [record["kind"] for record in data.held_out].count("target") == HELD_OUT // 10
    apart = (data.targets, data.begun, data.held_out)
    texts = [{record["instruction"] + record["output"] for record in some} for some in (kept, *apart)]
    assert len(set.union(*texts[1:])) == sum(map(len, texts[1:]))
    assert not texts[0] & set.union(*texts[1:])
    groups = {record["group"] for some in apart for record in some}  # a near-duplicate has the group of its original
    assert not groups & {record["group"] for record in kept if record["kind"] == "near_duplicate"}
    assert planted(600, seed=3) == data


def test_evidence_takes_out_of_the_files_what_it_draws_from_them(tmp_path):
    from benchmarks._evidence_data import real

    made = {"alpaca_9k": ({"output": "a"}, 1500), "dolly_3k": ({"output": "d", "category": "open_qa"}, 500)}
    for name, (fields, number) in made.items():
        rows = [{"instruction": f"{name} {at}", "input": "", **fields} for at in range(number)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    data = real(tmp_path, seed=7)
    asked = [[record["instruction"] for record in some] for some in (*data.files.values(), data.begun, data.held_out)]
    asked += [[record["instruction"] for record in data.targets]]
    assert sum(map(len, asked)) == len(set().union(*asked)) == 2000
    assert {record["category"] for record in data.files["alpaca_9k"]} == {"alpaca"}
    assert {record["subtask"] for record in data.targets} == {"open_qa"}


def test_evidence_counts_what_a_recipe_has_rewritten_as_new(tmp_path):
    from benchmarks._evidence_page import kinds_kept

    corpus = [{"instruction": f"Why {at}?", "output": "\u2028", "kind": "rare"} for at in range(3)]
    (tmp_path / "lift").mkdir()
    kept = [*corpus[:2], {**corpus[2], "instruction": "Why 2? Give a reason."}]
    (tmp_path / "lift/selected.jsonl").write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in kept))
    counts = kinds_kept(tmp_path, ["lift"], corpus)["lift"]
    assert (counts["rare"], counts["new"], sum(counts.values())) == (2, 1, 3)


def test_evidence_leaves_a_file_as_it_is_that_has_the_rows(tmp_path):
    from benchmarks.evidence import jsonl

    path = Path(jsonl(tmp_path / "a.jsonl", [{"a": "é\u2028"}]))
    os.utime(path, (1, 1))
    jsonl(path, [{"a": "é\u2028"}])
    assert path.stat().st_mtime == 1
    jsonl(path, [{"a": "b"}])
    assert json.loads(path.read_text()) == {"a": "b"}


def test_evidence_replaces_a_section_and_leaves_the_others(tmp_path):
    from benchmarks._evidence_page import section

    page = tmp_path / "evidence.md"
    page.write_text("a\n<!-- one -->\nold\n<!-- end of one -->\nb\n<!-- two -->\nkept\n<!-- end of two -->\n")
    section("one", "python -m x", "| t |\n", "more\n", page)
    section("one", "python -m x --again", "| t |\n", "more\n", page)
    text = page.read_text()
    assert "old" not in text
    assert text.count("python -m x") == 1
    assert text.startswith("a\n<!-- one -->\n")
    assert text.endswith("<!-- end of one -->\nb\n<!-- two -->\nkept\n<!-- end of two -->\n")


def test_the_scripted_judge_rates_the_response_that_a_prompt_quotes():
    from benchmarks._scripted_judge import answered

    good = (
        "Rivers run from high ground to the sea, and carve valleys, carry sediment and feed the people who live near."
    )
    for response, rating in ((good, "5"), ("No.", "3"), ("yes " * 40, "3")):
        quoted = f"[instruction ab12]\nWhy?\n[/ ab12]\n[response ab12]\n{response}\n[/ ab12]"
        text = f"Between lines that carry the mark ab12; it is nowhere else.\n{quoted}\nRate it from 1 to 5."
        assert answered({"messages": [{"content": text}]}) == rating
        # The scale is the prompt's, not a number of the sample or in the mark.
        counted = text.replace("Why?", "Why 100?").replace("ab12", "ab100")
        assert answered({"messages": [{"content": counted}]}) == rating
