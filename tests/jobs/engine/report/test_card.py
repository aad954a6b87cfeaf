"""The dataset cards of pretend runs."""

import re

import pytest
import yaml

from jobs.engine.report.card import write_card
from tests.jobs.engine.report.pretend import HOSTILE_TEXTS


def _card(outcome):
    """The card's header, and its body."""
    write_card(outcome)
    _, header, body = outcome.desk.out.content("README.md").decode().split("---\n", 2)
    return yaml.safe_load(header), body


def test_card_header_is_yaml_and_guesses_nothing(full):
    header, _ = _card(full)
    assert header["license"] == "other"
    assert "language" not in header
    assert header["size_categories"] == ["n<1K"]
    assert "at_random" in header["tags"]
    assert header["source_files"] == ["chat/a.jsonl", "code/b|<b>.json"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "selected.jsonl"}]


def test_card_says_what_how_and_how_to_repeat(full):
    _, body = _card(full)
    assert "winnow curate --config manifest.yaml --out again" in body
    assert "python -m jobs.curate at_random /data --out out budget=5%" in body
    assert "The random baseline: a random selection" in body
    assert "seed: 7" in body
    assert "sentence-transformers/all-MiniLM-L6-v2 (revision c9745ed1)" in body
    assert "ab" * 32 in body
    assert "cd" * 32 in body
    assert "| kept | 4 |" in body
    assert "````yaml\n" in body
    assert "b\\|&lt;b&gt;.json" in body
    assert "Check them before" in body


def test_card_says_whether_near_duplicates_were_removed(full):
    assert "Only exact duplicates were removed" in _card(full)[1]
    full.ledger.tally["duplicate", "nearly"] = 1200
    assert "- Besides exact duplicates, 1,200 records were removed whose text is nearly" in _card(full)[1]
    assert "Only exact" not in _card(full)[1]


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


def _cells(line):
    """The cells of one line of a Markdown table, as GitHub splits them: a backslash keeps the character after it."""
    cells = [""]
    for character in re.findall(r"\\.|.", line, re.DOTALL):
        if character == "|":
            cells.append("")
        else:
            cells[-1] += character
    return [cell.strip() for cell in cells[1:-1]]


@pytest.mark.fault(
    "a record carries markup",
    how="markup and YAML in names of sources and fields",
    holds="the dataset card keeps its structure",
)
def test_card_keeps_hostile_sources_fields_and_targets_in_their_places(outcome_of):
    said = dict(enumerate(HOSTILE_TEXTS))
    name = "".join(HOSTILE_TEXTS).replace("/", "")
    outcome = outcome_of(12, [0, 1], said=said, other=f"/data/code/{name}")
    fields = outcome.manifest["run"]["fields"]
    fields.update({text: text for text in HOSTILE_TEXTS})
    targets = [{"uri": f"/targets/{text}", "sha256": "ef" * 32} for text in HOSTILE_TEXTS]
    outcome.manifest["verbs"].append({"read": ["/targets"], "sources": targets, "seconds": 0.1})
    header, body = _card(outcome)
    assert header["source_files"] == ["chat/a.jsonl", f"code/{name}"]
    (opening, block) = re.search(r"^(`{3,})yaml\n(.*?)\n\1$", body, re.DOTALL | re.MULTILINE).groups()
    assert opening == "`````"
    assert yaml.safe_load(block) == fields
    outside = body.replace(block, "")
    assert re.findall(r"^#+ .*", outside, re.MULTILINE) == [
        "# at_random, budget 5%", "## Files", "## Method", "## Models", "## Sources", "## Repeat it", "## Limitations",
    ]  # fmt: skip
    assert "<" not in outside
    tables = [
        [_cells(line) for line in part.split("\n")] for part in re.split(r"\n\n", outside) if part.startswith("|")
    ]
    assert [len(table) - 2 for table in tables] == [5, 5, 1, 10, 2]
    assert all(len(row) == len(table[0]) for table in tables for row in table)
    assert tables[3][5][0] == r"""/targets/"double" 'single' \`back\` &amp;amp; &amp; \\\| \\"""
    assert tables[3][6][0].startswith(r"/targets/\| a \| b \| \|---\|---\| \| \[x](javascript:alert(2))")
