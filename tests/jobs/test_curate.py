"""The main command as a user types it, on small corpora, with the real embedder."""

import gzip
import json
import re

import pytest
import yaml

from jobs import explain
from jobs.engine.curation import curating
from jobs.engine.execute import capacity, model_room
from jobs.engine.report.display import percent
from jobs.engine.store.lock import locked
from operators.scripts import script
from tests.jobs.corpora import jsonl, ledger, records
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.fault(
    "records repeat one another",
    how="a broken line and a repeated record among 140",
    holds="142 lines in the ledger; the counts add up; kept lines have their bytes",
)
def test_ltd_keeps_records_as_they_were_and_every_record_has_a_line_in_the_ledger(run, tmp_path):
    rows = records(140)
    lines = [json.dumps(row) for row in rows]
    broken = [*lines[:50], "{broken", lines[3], *lines[50:]]
    (tmp_path / "in.jsonl").write_text("\n".join(broken) + "\n")
    code, said = run("ltd", "in.jsonl", "--out", "out", "budget=10%")
    assert code == 0
    assert "14 kept, 126 dropped, 1 duplicate, 1 quarantined" in said
    kept = (tmp_path / "out/selected.jsonl").read_text().splitlines()
    assert len(kept) == 14
    assert set(kept) <= set(lines)
    rows = ledger(tmp_path / "out")
    assert len(rows) == 142
    assert [lines.index(line) for line in kept] == [
        row["id"] for row in sorted((row for row in rows if row["state"] == "kept"), key=lambda row: row["rank"])
    ]
    aside = {row["state"]: (row["line"], row["id"]) for row in rows if row["state"] in ("duplicate", "quarantined")}
    assert aside == {"duplicate": (52, 3), "quarantined": (51, None)}
    assert json.loads((tmp_path / "out/quarantine.jsonl").read_text())["raw"] == "{broken"
    manifest = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())
    assert manifest["counts"] == {"records": 142, "kept": 14, "dropped": 126, "duplicate": 1, "quarantined": 1}
    assert (tmp_path / "out/report.html").exists()


def test_a_model_that_no_gpu_can_hold_is_refused_before_the_input_is_read(run, tmp_path, monkeypatch):
    jsonl(tmp_path / "in.jsonl", records(20))
    monkeypatch.setattr(model_room, "cluster_gpus", lambda: [2**20])
    monkeypatch.setattr(capacity.Capacity, "of_cluster", lambda: capacity.Capacity((capacity.Nodes(1, 4, 8),)))
    code, said = run("ltd", "in.jsonl", "--out", "a", "--profile", "gpu", store="own")
    assert code == 2
    assert "embed: sentence-transformers/all-MiniLM-L6-v2 takes 0.1 GiB on each GPU" in said
    assert not (tmp_path / "own/pools").exists()
    run("ltd", "in.jsonl", "--out", "a", "budget=5", store="own")
    code, _ = run("ltd", "in.jsonl", "--out", "a", "budget=5", "--profile", "gpu", store="own")
    assert code == 0  # what is stored needs no GPU


@pytest.mark.fault(
    "an output folder holds another run",
    how="the same output for another corpus",
    holds="refused with the first field that differs",
)
def test_another_budget_and_a_grown_file_compute_only_what_is_new(run, tmp_path):
    rows = records(120)
    jsonl(tmp_path / "in.jsonl", rows)
    run("ltd", "in.jsonl", "--out", "a", "budget=12", store="own")
    code, said = run("ltd", "in.jsonl", "--out", "b", "budget=20", store="own")
    assert code == 0
    assert "embed: 120 samples, 120 in the store, 0 to compute" in said
    first = (tmp_path / "a/selected.jsonl").read_text()
    assert (tmp_path / "b/selected.jsonl").read_text().startswith(first)
    jsonl(tmp_path / "in.jsonl", records(100, "x") + rows)
    _, said = run("ltd", "in.jsonl", "--out", "c", "budget=12", store="own")
    assert "embed: 220 samples, 0 in the store, 120 known from an earlier run, 100 to compute" in said
    code, said = run("ltd", "in.jsonl", "--out", "a", "budget=12")
    assert code == 2
    assert "a holds another run (pool.fingerprint" in said


@pytest.mark.fault(
    "rows divide otherwise among workers, batches, files and shards",
    how="1 to 3 workers, batches of 7 to 256, one file and five",
    holds="the same records in the same order",
)
def test_the_same_samples_for_any_workers_batches_and_files(run, tmp_path):
    rows = records(90)
    jsonl(tmp_path / "whole.jsonl", rows)
    for part in range(5):
        jsonl(tmp_path / f"part{part}.jsonl", rows[part * 18 : part * 18 + 18])
    chosen = []
    for workers, size, files in ((1, 7, ["whole.jsonl"]), (3, 32, ["part*.jsonl"]), (2, 256, ["whole.jsonl"])):
        (tmp_path / "p.yaml").write_text(f"default: {{workers: {workers}, rows: {size}}}")
        name = f"out{size}"
        code, _ = run("ltd", *files, "--out", name, "--profile", "p.yaml", "budget=30", store=f"store{size}")
        assert code == 0
        chosen.append([json.loads(line)["number"] for line in (tmp_path / name / "selected.jsonl").open()])
    assert len(chosen[0]) == 30
    assert chosen[0] == chosen[1] == chosen[2]


def test_deft_takes_two_files_of_different_columns_and_the_manifest_repeats_the_run(run, tmp_path):
    jsonl(tmp_path / "alpaca.jsonl", records(70))
    dolly = [
        {"instruction": f"What is {i}?", "context": "", "response": f"It is {i}.", "category": "qa"} for i in range(60)
    ]
    (tmp_path / "dolly.json").write_text(json.dumps(dolly, indent=2))
    code, said = run("deft", "alpaca.jsonl", "dolly.json", "--out", "out", "budget=40", "label.name=category", "seed=5")
    assert code == 0
    assert "40 kept, 90 dropped" in said
    code, _ = run("--config", "out/manifest.yaml", "--out", "again")
    assert code == 0
    assert (tmp_path / "again/selected.jsonl").read_bytes() == (tmp_path / "out/selected.jsonl").read_bytes()
    from_json = [line for line in (tmp_path / "out/selected.jsonl").read_text().splitlines() if "context" in line]
    assert all(list(json.loads(line)) == ["instruction", "context", "response", "category"] for line in from_json)
    reasons = {row["reason"] for row in ledger(tmp_path / "out") if row["state"] == "kept"}
    assert reasons == {"random base", "hard: far from its centroid"}


def test_ltd_with_a_target_keeps_only_samples_of_its_centroids(run, tmp_path):
    rows = [
        {"instruction": f"Translate to French: {word}", "output": f"mot {word}", "task": "translate"}
        for word in ("cat", "dog", "sun", "moon", "tree", "milk", "salt", "rain")
    ]
    rows += [{"instruction": f"Solve {i} + {i}", "output": str(2 * i), "task": "sum"} for i in range(20)]
    jsonl(tmp_path / "in.jsonl", rows)
    code, _ = run("ltd", "in.jsonl", "--out", "out", "budget=5", "target=translate")
    assert code == 0
    kept = [json.loads(line)["task"] for line in (tmp_path / "out/selected.jsonl").open()]
    assert kept == ["translate"] * 5
    code, said = run("ltd", "in.jsonl", "--out", "none", "budget=5", "target=poem")
    assert code == 2
    assert "no sample has task='poem'; the tasks are ['sum', 'translate']" in said
    jsonl(tmp_path / "few.jsonl", [{"instruction": "Translate to French: fish", "output": "mot fish"}])
    code, _ = run("ltd", "in.jsonl", "--out", "few", "budget=5", "examples=few.jsonl", "centroids=2")
    assert code == 0
    kept = [json.loads(line)["task"] for line in (tmp_path / "few/selected.jsonl").open()]
    assert kept == ["translate"] * 5


def test_controls_and_a_budget_in_tokens(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(60))
    code, _ = run("longest", "in.jsonl", "--out", "long", "budget=8")
    assert code == 0
    scores = [row["score"] for row in sorted(ledger(tmp_path / "long"), key=lambda row: row["rank"] or 99)]
    assert scores[:8] == sorted(scores, reverse=True)[:8]
    assert scores[0] >= 14
    code, _ = run("ltd", "in.jsonl", "--out", "tokens", "budget=tokens:150")
    assert code == 0
    count = len((tmp_path / "tokens/selected.jsonl").read_text().splitlines())
    rows = ledger(tmp_path / "tokens")
    scored = {row["id"] for row in rows if row["score"] is not None}
    assert scored == {row["id"] for row in rows if row["state"] == "kept" and row["rank"] > 1}
    run("ltd", "in.jsonl", "--out", "more", "budget=tokens:300")
    assert 2 < count < len((tmp_path / "more/selected.jsonl").read_text().splitlines())
    code, said = run("ltd", "in.jsonl", "--out", "all", "budget=tokens:10M")
    assert code == 2
    assert "budget tokens:10000000 is above the" in said


@pytest.mark.fault(
    "the driver is killed",
    how="an output folder as a killed run leaves it",
    holds="the same command writes the output whole",
)
def test_a_run_that_was_cut_off_after_it_claimed_its_folder_can_be_run_again(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(30))
    out, words = tmp_path / "out", ("at_random", "in.jsonl", "--out", "out", "budget=4")
    assert run(*words)[0] == 0
    manifest = yaml.safe_load((out / "manifest.yaml").read_text())
    claimed = {key: manifest[key] for key in ("winnow_manifest", "run", "pool")}
    (out / "manifest.yaml").write_text(yaml.safe_dump(claimed))
    (out / "selection.parquet").unlink()
    (out / f".{'0' * 32}.tmp").write_text("what was being written")
    assert run("out", "1", command=explain)[0] == 1
    assert run(*words)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["README.md", "manifest.yaml", "quarantine.jsonl", "report.html", "selected.jsonl", "selection.parquet"]
    )


@pytest.mark.fault(
    "two drivers want one store",
    how="`curate` on a store that is locked",
    holds="exit code 1 with the owner, before anything is started or written",
)
def test_a_second_driver_on_a_store_in_use_is_refused_before_it_starts_anything(run, tmp_path, monkeypatch):
    lock = tmp_path / "own/lock.json"
    jsonl(tmp_path / "in.jsonl", records(20))
    with locked(str(tmp_path / "own"), print, lease=3.0):
        code, said = run("ltd", "in.jsonl", "--out", "o", "budget=5", store="own")
    assert code == 1
    assert "own is in use by process" in said
    assert not (tmp_path / "o").exists()
    held, write = [], curating.write_card
    monkeypatch.setattr(curating, "write_card", lambda outcome: held.append(lock.exists()) or write(outcome))
    assert run("at_random", "in.jsonl", "--out", "o", "budget=5", store="own")[0] == 0
    assert (held, lock.exists()) == ([True], False)  # nobody merges the parts that the outcome is made of


@pytest.mark.fault(
    "nothing is left to select, or too much is asked for",
    how="a budget of 0, and one above the pool",
    holds="exit code 2 with what to do",
)
def test_bad_usage_is_refused_with_what_to_do(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(20))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    for words, message in [
        (["ldt", "in.jsonl"], "no recipe 'ldt'; did you mean 'ltd'?"),
        (["ltd", "in.jsonl", "--out", "o", "budget=0"], "and it must be above 0"),
        (["ltd", "in.jsonl", "--out", "o", "budget=21"], "budget 21 is above the 20 samples of the pool"),
        (["ltd", "in.jsonl", "--out", "o2", "budget=many"], "is none of: a number of samples (6000), a share (5%)"),
        (["ltd", "in.jsonl", "--out", "o", "bugdet=5"], "unknown field 'bugdet'; did you mean 'budget'?"),
        (["ltd", "in.jsonl", "budget=5"], "say where to write: --out FOLDER"),
        (["ltd", "--out", "o"], "name what to curate"),
        (["ltd", "gone.jsonl", "--out", "o"], "gone.jsonl"),
        (["ltd", "in.jsonl", "--out", "full"], "full is not empty and holds no run of Winnow"),
        (["ltd", "in.jsonl", "--out", "o", "--profile", "tpu"], "no profile 'tpu'"),
    ]:
        code, said = run(*words)
        assert (code, message in said) == (2, True), (words, said)
        assert "to compute" not in said  # nothing is embedded for a budget that cannot be met


@pytest.mark.fault(
    "a worker cannot load its model",
    how="a model that is nowhere",
    holds="exit code 1 before anything is started, with how to name a local path; no other model is taken",
)
def test_a_model_that_is_not_there_fails_before_anything_starts(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(20))
    code, said = run("ltd", "in.jsonl", "--out", "o", "embed.model.name=intfloat/nothing-here", store="own")
    assert code == 1
    assert "intfloat/nothing-here" in said
    assert "error: embed.model.name: model intfloat/nothing-here is not available" in said
    assert "Give the path of a folder that holds it" in said
    assert not (tmp_path / "own").exists()


def chinese(count):
    """So many different records in Chinese, of characters that MiniLM's vocabulary lacks for the most part."""
    subjects, asked = (
        ("饺子", "长江", "质数", "画蛇添足", "绿茶"),
        ("请解释{}是什么。", "写一首关于{}的诗。", "为什么{}很重要？"),
    )
    return [
        {
            "instruction": asked[i % 3].format(subjects[i % 5]),
            "output": f"{subjects[i % 5]}的说明，第{i}条，请仔细阅读。",
        }
        for i in range(count)
    ]


def test_a_corpus_that_the_embedder_cannot_read_fails_at_once_and_says_what_reads_it(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", chinese(1100))
    for published in ([], ["--as-published", "embed.model.name=sentence-transformers/all-MiniLM-L6-v2"]):
        code, said = run("ltd", "in.jsonl", "--out", "out", "budget=20", *published, store=f"own{len(published)}")
        assert code == 3
        told = re.search(r"embed: (\d+) of (\1 samples drawn at random from 1,100|the first \1 samples) failed", said)
        assert told, said  # any batch may end first
        assert "max_errors allows 11 of all samples" in said
        assert "% of the text is unknown to the model's tokenizer: '" in said
        assert any(
            subject in said.split("tokenizer: ")[1][:70] for subject in ("饺子", "长江", "质数", "画蛇添足", "绿茶")
        )
        assert "intfloat/multilingual-e5-small and BAAI/bge-m3" in said
        assert "set embed.model.name=intfloat/multilingual-e5-small, or raise max_errors" in said
    reader = tiny_encoder(tmp_path / "reader", [f"{row['instruction']}{row['output']}" for row in chinese(60)])
    code, said = run("ltd", "in.jsonl", "--out", "out", "budget=20", f"embed.model.name={reader}")
    assert code == 0
    assert "20 kept, 1,080 dropped, 0 duplicate, 0 quarantined" in said


def test_a_few_samples_that_the_embedder_cannot_read_are_set_aside_and_reported(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", [*records(40), *chinese(10)])
    code, said = run("ltd", "in.jsonl", "--out", "out", "budget=8", "max_errors=0.2")
    assert code == 0
    assert "8 kept, 32 dropped, 0 duplicate, 10 quarantined" in said
    reasons = [row["reason"] for row in ledger(tmp_path / "out") if row["state"] == "quarantined"]
    assert len(reasons) == 10
    assert all(reason.startswith("embed: unreadable: ") for reason in reasons)
    page = (tmp_path / "out/report.html").read_text()
    scripts = page[page.index("<h3>By script") : page.index("<h3>By turns")]
    han = len([row for row in records(40) if script(row["instruction"] + row["output"]) == "Han"])
    assert han
    assert scripts.count('class="lost"') == 1
    assert f'<span class="lost">{percent(10 / (10 + han))}</span>' in scripts
    code, said = run("ltd", "in.jsonl", "--out", "again", "budget=8")
    assert code == 3
    assert "embed: 10 of 50 samples have an error, and max_errors allows 0. One of the errors: unreadable: " in said
    assert "set embed.model.name=intfloat/multilingual-e5-small" in said


@pytest.mark.fault(
    "a file is corrupt, cut short or empty",
    how="a gzip file without its last 20 bytes",
    holds="the records before the cut; one quarantined line",
)
def test_a_gzip_file_that_was_cut_short_gives_the_records_before_the_cut(run, tmp_path):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in records(80))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(text.encode())[:-20])
    code, said = run("at_random", "cut.jsonl.gz", "--out", "out", "budget=3")
    assert code == 0
    assert "3 kept, 75 dropped, 0 duplicate, 1 quarantined" in said
    (set_aside,) = [row for row in ledger(tmp_path / "out") if row["state"] == "quarantined"]
    assert (set_aside["line"], set_aside["reason"].partition(":")[0]) == (79, "truncated_file")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"instruction": "a", "output": "b"}\n')[:-9])
    code, said = run("at_random", "cut.jsonl.gz", "--out", "none")
    assert code == 3
    assert "quarantined 1: 1 truncated_file" in said


@pytest.mark.fault(
    "nothing is left to select, or too much is asked for",
    how="an empty file, and a corpus whose texts are blank",
    holds="exit code 3 with the reason",
)
def test_nothing_valid_or_too_many_failures_is_exit_code_3(run, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    code, said = run("at_random", "empty.jsonl", "--out", "a")
    assert code == 3
    assert "no valid sample in empty.jsonl" in said
    rows = [{"instruction": " " * (i + 1), "output": "\t"} for i in range(3)] + records(80)
    jsonl(tmp_path / "blank.jsonl", rows)
    code, said = run("ltd", "blank.jsonl", "--out", "c", "budget=5")
    assert code == 0
    assert "3 quarantined" in said
    rows = [{"instruction": " ", "output": f"only an answer {i}"} for i in range(5)] + records(20)
    jsonl(tmp_path / "blank.jsonl", rows)
    code, said = run("deft", "blank.jsonl", "--out", "d", "budget=5")
    assert code == 3
    assert "embed: 5 of" in said
    assert "empty_text" in said
    code, said = run("deft", "blank.jsonl", "--out", "d", "budget=5", "max_errors=0.5")
    assert code == 0
    assert "5 kept, 15 dropped, 0 duplicate, 5 quarantined" in said
    reasons = [row["reason"] for row in ledger(tmp_path / "d") if row["state"] == "quarantined"]
    assert all(reason.startswith("embed: empty_text") for reason in reasons)
