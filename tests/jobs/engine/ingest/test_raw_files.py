"""Raw files as the commands read them: what is refused, what is set aside, and what is said of it."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs import evaluate, finetune, ingest
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.terminal.errors import UsageError
from tests.jobs.corpora import jsonl, ledger, records, utterances
from tests.tiny import tiny_causal

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.fault(
    "a line is no record",
    how="a corpus that is mostly unreadable",
    holds="exit code 3 with the first reasons",
)
def test_a_corpus_that_is_mostly_unreadable_ends_the_run_with_the_first_reasons(run, tmp_path):
    rows = [*records(20), {"question": 1}, {"instruction": "a", "output": ""}, {"question": 2}, {"output": 3}]
    jsonl(tmp_path / "in.jsonl", rows)
    (tmp_path / "in.jsonl").open("a").write("{broken\n")
    code, said = run("at_random", "in.jsonl", "--out", "out", "budget=2", store="own")
    assert code == 3
    assert "5 of 25 records cannot be read, and the share that may be is 0.05" in said
    assert "in.jsonl:21: missing_field: no format fits the fields found (question)" in said
    assert "in.jsonl:22: no_answer: the assistant's last message is empty" in said
    assert "in.jsonl:25: malformed_json" in said
    assert "in.jsonl:23" not in said
    assert said.count("in.jsonl:22: no_answer") == 1
    assert "or allow as many: --max-unreadable 0.2" in said
    (pool,) = (tmp_path / "own/pools").iterdir()
    stamp = (pool / "pool.json").stat().st_mtime_ns
    code, said = run("at_random", "in.jsonl", "--out", "out", "budget=2", "--max-unreadable", "0.2", store="own")
    assert code == 0, said
    assert (pool / "pool.json").stat().st_mtime_ns == stamp
    code, said = run("at_random", "in.jsonl", "--out", "third", "budget=2", store="own")
    assert (code, said.count("in.jsonl:22: no_answer")) == (3, 1)
    code, said = run("at_random", "in.jsonl", "--out", "other", "budget=2", "max_unreadable=0.3", store="own")
    assert code == 0, said


def test_ingest_ends_so_too_and_its_pool_can_be_used_all_the_same(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", [*records(10), {"question": 1}])
    code, said = run("in.jsonl", "--out", "pool", command=ingest)
    assert code == 3
    assert "1 of 11 records cannot be read" in said
    assert "pool/quarantine.jsonl has them all" in said
    assert said.count("in.jsonl:11: missing_field: no format fits") == 1
    code, said = run("in.jsonl", "--out", "pool", "--max-unreadable", "0.1", command=ingest)
    assert (code, said.count("in.jsonl:11: missing_field: no format fits")) == (0, 1)
    assert "to select from them: winnow curate ltd pool --out FOLDER budget=5%" in said
    assert run("in.jsonl", "--out", "pool", "--ignore", "x", command=ingest)[0] == 2
    code, said = run("at_random", "pool", "--out", "out", "budget=2")
    assert code == 0, said


def test_examples_that_are_mostly_unreadable_end_the_run(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(20))
    jsonl(tmp_path / "examples.jsonl", [*records(2), {"question": 1}])
    code, said = run("ltd", "in.jsonl", "--out", "out", "budget=2", "first=center", "examples=examples.jsonl")
    assert code == 3
    assert "examples.jsonl:3: missing_field" in said


def test_a_folder_s_own_output_and_store_in_it_are_no_data(run, tmp_path):
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data/in.jsonl", records(30))
    code, said = run("at_random", "data", "--out", "data/out", "budget=5", store="data/store")
    assert code == 0, said
    code, said = run("at_random", "data", "--out", "data/out", "budget=5", store="data/store")
    assert code == 0
    assert "holds this very run" in said
    code, said = run("at_random", "data", "--out", "again", "budget=5", store="data/store")
    assert code == 0
    assert "skipped data/out/: it is what a run of Winnow wrote, not raw files" in said
    assert "skipped data/store/: it is a store of Winnow, not raw files" in said
    assert (tmp_path / "again/selected.jsonl").read_bytes() == (tmp_path / "data/out/selected.jsonl").read_bytes()
    assert len(list((tmp_path / "data/store/pools").iterdir())) == 1
    code, said = run("at_random", "data/out", "--out", "third", "budget=5", store="own")
    assert code == 2
    assert "name what it holds: data/out/selected.jsonl" in said
    code, said = run("at_random", "data/out/selected.jsonl", "--out", "third", "budget=5", store="own")
    assert code == 0, said


def test_columns_limits_and_ignored_fields_are_repeated_by_the_manifest(run, tmp_path):
    rows = [{"question": f"What is {at}?", "answer": "It.", "round": at % 2} for at in range(20)]
    jsonl(tmp_path / "in.jsonl", [*rows, {**rows[3], "round": 7}])
    named = ["--columns", "instruction=question,response=answer"]
    code, said = run("at_random", "in.jsonl", "--out", "plain", "budget=4", *named)
    assert code == 0, said
    assert "21 samples of 21 records" in said
    code, said = run(
        "at_random", "in.jsonl", *named, "--ignore", "round", "--limit", "max_turns=9", "--out", "out", "budget=4"
    )
    assert code == 0, said
    assert "20 samples of 21 records (1 duplicates" in said
    reading = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())["run"]["reading"]
    assert reading == {
        "columns": {"instruction": "question", "response": "answer"}, "ignore": ["round"], "max_turns": 9,
    }  # fmt: skip
    code, said = run("--config", "out/manifest.yaml", "--out", "again")
    assert code == 0, said
    assert (tmp_path / "out/selected.jsonl").read_bytes() == (tmp_path / "again/selected.jsonl").read_bytes()
    code, said = run("--config", "out/manifest.yaml", "--out", "out")
    assert "holds this very run" in said
    code, said = run("--config", "out/manifest.yaml", "--limit", "max_turns=8", "--out", "out")
    assert code == 2
    assert "reading.max_turns 9 there, 8 now" in said
    assert run("in.jsonl", "--out", "pool", *named, command=ingest)[0] == 0
    code, said = run("at_random", "pool", "--out", "of_pool", "budget=4", *named)
    assert code == 2
    assert "pool is a pool, which is ingested already" in said


def test_finetune_and_evaluate_read_named_columns(run, tmp_path, shared_store):
    rows = [{"asked": f"What is {at}?", "told": f"It is {at}."} for at in range(6)]
    jsonl(tmp_path / "in.jsonl", [*rows, {"asked": "And?", "told": ""}])
    base = tiny_causal(tmp_path / "base", ["What is 1? It is 1."])
    named = ["--columns", "instruction=asked", "response=told", "--max-unreadable", "0.2", "--store", shared_store]
    fields = [f"base.name={base}", "lora=none", "epochs=1", "batch=2", "warmup=0", "precision=float32", "max_tokens=64"]
    code, said = run("in.jsonl", "--out", "model", *fields, *named, command=finetune)
    assert code == 0, said
    assert "6 samples" in said
    code, said = run("model", "in.jsonl", "--out", "told.json", *named, command=evaluate)
    assert code == 0, said
    assert json.loads((tmp_path / "told.json").read_text())["overall"]["samples"] == 6
    code, said = run("model", "in.jsonl", "--store", shared_store, command=evaluate)
    assert code == 3
    assert "7 of 7 records cannot be read" in said


def test_records_without_an_answer_are_kept_where_that_is_asked_for(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", utterances(40, seed=0))
    code, said = run("at_random", "in.jsonl", "--out", "out", "budget=2")
    assert code == 3
    assert "no_answer" in said
    code, said = run("at_random", "in.jsonl", "--out", "out", "budget=2", "--keep-unanswered")
    assert code == 0, said
    assert run("in.jsonl", "--out", "pool", command=ingest)[0] == 3
    assert run("in.jsonl", "--out", "kept", "--keep-unanswered", command=ingest)[0] == 0
    assert run("at_random", "kept", "--out", "of_pool", "budget=2")[0] == 0


def test_a_label_with_half_of_a_surrogate_pair_is_read_with_a_replacement_character(run, tmp_path):
    rows = [{**row, "category": f"{row['category']}\ud800"} for row in records(20)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, said = run("ltd", "in.jsonl", "--out", "out", "budget=5", "target=bread\ufffd", "label.name=category")
    assert code == 0, said
    kept = [row["line"] for row in ledger(tmp_path / "out") if row["state"] == "kept"]
    assert kept == [1, 11]


def test_parquet_columns_of_bytes_are_text_and_two_of_one_name_are_refused(run, tmp_path):
    asked = pa.array([f"问题 {at}".encode() for at in range(20)])
    table = pa.table({"instruction": asked, "output": pa.array([b"yes"] * 20)})
    pq.write_table(table, tmp_path / "bytes.parquet")
    code, said = run("at_random", "bytes.parquet", "--out", "out", "budget=2")
    assert code == 0, said
    assert "问题" in (tmp_path / "out/selected.jsonl").read_text()
    twice = pa.Table.from_arrays([asked, asked, asked], ["instruction", "output", "output"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    code, said = run("at_random", "twice.parquet", "--out", "two", "budget=2")
    assert code == 3
    assert "twice.parquet: duplicate_column: there are two columns 'output'" in said


def test_records_that_differ_in_what_is_trained_on_are_all_candidates(run, tmp_path):
    chat = [{"role": "user", "content": "1+1?"}]
    told = [[*chat, {"role": "assistant", "content": "2", "reasoning_content": f"thought {at}"}] for at in range(4)]
    rows = [*({"messages": each} for each in told), *({"messages": told[0], "label": each} for each in ("yes", "no"))]
    jsonl(tmp_path / "in.jsonl", [*rows, {"id": 7, **rows[0]}])
    code, said = run("at_random", "in.jsonl", "--out", "out", "budget=6")
    assert code == 0, said
    assert "6 kept, 0 dropped, 1 duplicate, 0 quarantined" in said


def test_a_pool_of_another_version_is_refused_with_what_to_do(make_pool):
    pool = make_pool(["a b"])
    old = Samples(pool.folder, {key: pool.facts[key] for key in pool.facts if key != "text_fingerprint"})
    with pytest.raises(UsageError, match="ingest its files again"):
        old.identity("conversation")
