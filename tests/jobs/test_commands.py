"""The commands around the main one."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs import doctor, explain, ingest
from tests.jobs.corpora import jsonl, ledger, records

pytestmark = pytest.mark.usefixtures("ray_session")


def test_explain_tells_the_story_of_kept_and_dropped(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(80))
    run("ltd", "in.jsonl", "--out", "out", "budget=8")
    rows = ledger(tmp_path / "out")
    kept = next(row for row in rows if row["rank"] == 2)
    _, said = run("out", kept["id"], command=explain)
    assert "kept by ltd" in said
    assert "rank      2 of 8" in said
    assert "centroid" in said
    dropped = next(row for row in rows if row["state"] == "dropped")
    _, said = run("out", f"in.jsonl:{dropped['line']}", command=explain)
    assert "dropped by ltd" in said
    vectors = _vectors(tmp_path / "out")
    ids = [row["id"] for row in sorted((r for r in rows if r["rank"]), key=lambda row: row["rank"])]
    similarity = vectors[ids] @ vectors[dropped["id"]]
    assert f"nearest kept sample: {ids[int(similarity.argmax())]}, similarity {similarity.max():.4f}" in said
    assert run("out", "4711", command=explain)[0] == 2
    assert run("nowhere", "1", command=explain)[0] == 2


def _vectors(out) -> np.ndarray:
    verbs = yaml.safe_load((out / "manifest.yaml").read_text())["verbs"]
    folder = Path(next(entry["feature"] for entry in verbs if entry.get("map") == "embed"))
    table = pa.concat_tables(pq.read_table(path) for path in folder.glob("part-*.parquet"))
    table = table.sort_by("id")
    vectors = np.stack(table["value"].to_pylist()).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_plan_says_what_is_stored_and_runs_nothing(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(40))
    code, said = run("ltd", "in.jsonl", "--plan", store="own")
    assert code == 0
    assert "not ingested yet" in said
    assert "embed: as many workers as there is room for, each with 0.9 CPUs, and batches of 512 samples" in said
    assert not (tmp_path / "own").exists()
    run("ltd", "in.jsonl", "--out", "out", "budget=4")
    _, said = run("ltd", "in.jsonl", "--plan", "budget=9")
    row = next(line for line in said.splitlines() if "Embed" in line and "embed" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")][2:4] == ["40", "0"]


def test_ingest_makes_a_pool_that_curate_takes(run, tmp_path):
    rows = [{"asked": f"What is {i}?", "told": f"It is {i}.", "note": None} for i in range(30)]
    jsonl(tmp_path / "in.jsonl", [*rows, rows[0], {"asked": [3], "told": "x"}])
    code, said = run("in.jsonl", "--out", "pool", command=ingest)
    assert code == 3
    assert "no record could be read as a sample" in said
    columns = ["--columns", "instruction=asked", "response=told"]
    code, said = run("in.jsonl", "--out", "named", *columns, command=ingest)
    assert code == 0
    assert "30 samples of 32 records are in named" in said
    assert run("in.jsonl", "--out", "named", *columns, command=ingest)[0] == 2
    assert run("in.jsonl", "--out", "x", "--columns", "told=told", command=ingest)[0] == 2
    code, said = run("at_random", "named", "--out", "out", "budget=3")
    assert code == 0
    assert "3 kept, 27 dropped, 1 duplicate, 1 quarantined" in said
    kept = (tmp_path / "out/selected.jsonl").read_text().splitlines()
    assert set(kept) <= set((tmp_path / "in.jsonl").read_text().splitlines())
    assert json.loads(kept[0])["note"] is None
    code, said = run("at_random", "named", "in.jsonl", "--out", "both", "budget=3")
    assert code == 2
    assert "give one pool, or raw files, not both" in said


def test_ingest_lists_the_first_of_many_sources_and_the_others_together():
    sources = [{"uri": f"{number}.jsonl", "records": 1000, "samples": number} for number in range(1, 26)]
    rows = ingest.listed(sources, ["records", "samples"])
    assert rows[18] == ["19.jsonl", "1,000", "19"]
    assert rows[19:] == [["6 others", "6,000", "135"]]
    assert ingest.listed(sources[:20], ["samples"])[-1] == ["20.jsonl", "20"]


def test_the_manifest_s_command_is_the_one_that_was_asked_for(run, tmp_path):
    jsonl(tmp_path / "in put.jsonl", records(20))
    run("at_random", "in put.jsonl", "--out", "out", "budget=3", store=tmp_path / "store")
    typed = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())["command"]
    assert typed == f"python -m jobs.curate at_random 'in put.jsonl' --out out budget=3 --store {tmp_path}/store"


def test_doctor_says_what_is_there_and_what_is_missing(run):
    code, said = run("ltd", command=doctor)
    assert code == 0
    assert "ready" in said
    code, said = run("ltd", "embed.model.name=/nowhere/model", command=doctor)
    assert code == 1
    assert "/nowhere/model" in said
    code, said = run("less", "train.base.name=/nowhere/base", command=doctor)
    assert code == 1
    assert "/nowhere/base" in said


def test_an_out_that_another_run_has_taken_is_refused_before_anything_is_ingested(run, tmp_path):
    for name in ("in", "other"):
        jsonl(tmp_path / f"{name}.jsonl", records(20))
    assert run("at_random", "in.jsonl", "--out", "out", "budget=3")[0] == 0
    code, said = run("at_random", "in.jsonl", "--out", "out", "budget=4", store="never")
    assert (code, "out holds another run (budget '3' there, '4' now)" in said) == (2, True)
    code, said = run("longest", "in.jsonl", "--out", "out", "budget=3", store="never")
    assert (code, "run.recipe 'at_random' there, 'longest' now" in said) == (2, True)
    code, said = run("at_random", "other.jsonl", "--out", "out", "budget=3", store="never")
    assert (code, "run.inputs ['in.jsonl'] there, ['other.jsonl'] now" in said) == (2, True)
    assert not (tmp_path / "never").exists()
