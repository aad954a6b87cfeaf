"""The demo corpus: what the command `python -m jobs.demo` and the documentation rely on."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from jobs.demo.__main__ import demo
from jobs.demo.corpus import Record, corpus
from jobs.engine.terminal.errors import UsageError

FIELDS = ["instruction", "input", "output", "topic", "kind", "group"]
TIMES = "\N{MULTIPLICATION SIGN}"
EQUATION = re.compile(rf"([(\d][\d .()+{TIMES}/-]*) = (-?\d+(?:\.\d+)?)")


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return corpus()


def of(records: list[Record], *kinds: str) -> list[Record]:
    return [record for record in records if record["kind"] in kinds]


def digest(records: list[Record]) -> str:
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()


def test_the_same_seed_writes_the_same_corpus_in_a_fresh_process(records):
    program = "import json, sys; from jobs.demo.corpus import corpus; json.dump(corpus(), sys.stdout)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert digest(json.loads(run.stdout)) == digest(records)


def test_another_seed_writes_another_corpus(records):
    assert digest(corpus(seed=8)) != digest(records)


def test_the_corpus_has_the_size_that_was_asked_for(records):
    assert len(records) == 3200
    assert len(corpus(500)) == 500
    assert len(corpus(4000)) == 4000


@pytest.mark.parametrize("samples", [0, 40, 100_000])
def test_a_size_that_the_grammar_cannot_write_is_refused(samples):
    with pytest.raises(ValueError, match="ordinary samples"):
        corpus(samples)


def test_the_kinds_have_their_shares(records):
    rare = len(of(records, "rare"))
    assert Counter(record["kind"] for record in records) == {
        "near_duplicate": 480,
        "junk": 192,
        "rare": rare,
        "ordinary": 3200 - 480 - 192 - rare,
    }


def test_common_topics_are_many_and_of_unequal_size(records):
    sizes = Counter(record["topic"] for record in of(records, "ordinary")).most_common()
    assert len(sizes) >= 24
    assert sum(" (in " in topic for topic, _ in sizes) == 7
    assert sum(size for _, size in sizes[:5]) > 0.4 * sum(size for _, size in sizes)
    assert sizes[-1][1] >= 15


def test_rare_topics_have_three_to_six_samples_and_no_others(records):
    sizes = Counter(record["topic"] for record in of(records, "rare"))
    assert len(sizes) == 8
    assert set(sizes.values()) <= {3, 4, 5, 6}
    assert not sizes.keys() & {record["topic"] for record in of(records, "ordinary", "near_duplicate", "junk")}


def test_records_are_complete_distinct_and_utf_8(records):
    for record in records:
        assert list(record) == FIELDS
        assert record["instruction"].strip()
        assert record["output"].strip()
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    assert len({(record["instruction"], record["input"], record["output"]) for record in records}) == len(records)


def test_a_label_tells_junk_from_topics(records):
    assert {record["topic"] for record in of(records, "junk")} == {"none"}
    assert "none" not in {record["topic"] for record in of(records, "ordinary", "rare", "near_duplicate")}


def test_a_near_duplicate_shares_group_topic_and_input_with_one_original(records):
    originals = {record["group"]: record for record in of(records, "ordinary", "rare", "junk")}
    assert len(originals) == len(of(records, "ordinary", "rare", "junk"))
    for copy in of(records, "near_duplicate"):
        original = originals[copy["group"]]
        assert original["kind"] == "ordinary"
        assert (copy["topic"], copy["input"]) == (original["topic"], original["input"])
        assert abs(len(copy["output"]) - len(original["output"])) < 20


def test_nothing_is_left_of_the_templates(records):
    for record in of(records, "ordinary", "rare"):
        text = " ".join([record["instruction"], record["input"], record["output"]])
        assert not re.search(r"\{(?!value)\w+\}|\bNone (is|of) None\b| \| |\.\.$", text), text


def test_the_embedder_of_the_demo_reads_every_record(records):
    from transformers import AutoTokenizer

    from operators.checkpoint import MINILM, Checkpoint
    from operators.unknown import unknown_share

    tokenizer = AutoTokenizer.from_pretrained(Checkpoint(MINILM).folder(), local_files_only=True)
    texts = ["\n".join([record["instruction"], record["input"], record["output"]]) for record in records]
    assert max(unknown_share(tokenizer, text) for text in texts) < 0.05


def test_calculated_answers_are_right(records):
    checked = 0
    for record in of(records, "ordinary"):
        for left, right in EQUATION.findall(record["output"]):
            if re.search(rf"[+{TIMES}/-]", left):
                value = eval(left.replace(TIMES, "*"), {"__builtins__": {}})
                assert value == pytest.approx(float(right), abs=0.005), record
                checked += 1
    assert checked > 80


def test_ordered_answers_are_right(records):
    sorted_ones = [record for record in of(records, "ordinary") if "alphabetical" in record["instruction"]]
    assert len(sorted_ones) > 20
    for record in sorted_ones:
        items = record["output"].split(", ")
        assert sorted(items, key=str.lower) == items
        assert sorted(record["input"].lower().split(", ")) == sorted(record["output"].lower().split(", "))


def test_writing_it_needs_neither_torch_nor_ray():
    program = (
        "import sys; from jobs.demo.corpus import corpus; corpus(); print({'torch', 'ray', 'numpy'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=30)
    assert run.stdout.strip() == "set()"


def test_the_demo_removes_no_run_but_its_own(tmp_path):
    theirs = tmp_path / "ltd" / "manifest.yaml"
    theirs.parent.mkdir()
    theirs.write_text("run: {recipe: ltd, inputs: [data.jsonl]}")
    with pytest.raises(UsageError, match="holds something else than an earlier demo; give another --out"):
        demo(tmp_path, tmp_path / "store")
    assert theirs.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ltd"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/corpus.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"corpus.jsonl is there already, and not from an earlier demo; give another"):
        demo(tmp_path / "other", tmp_path / "store")
    assert (tmp_path / "other/corpus.jsonl").read_text() == "mine"
