"""LIFT from the command line, with a scripted model for all three of its roles, and its settings."""

import json
import re
import zlib

import numpy as np
import pytest
import yaml

from jobs import explain
from jobs.methods.lift_rounds import grown, round_facts
from jobs.recipes.lift import LIFT
from operators.asking.respond import Respond
from operators.asking.rewrite import Rewrite
from tests.jobs.corpora import jsonl, ledger, records
from tests.jobs.recipes.stored import put_values
from tests.servers import prompt, said, served

SAID = (
    "The tide comes in because the moon pulls at the sea.",
    "大学の三人は東京に行った。",
    "SELECT name FROM cities WHERE size > 9;",
    "Nein, das ist nicht erlaubt, und zwar aus drei Gründen.",
    "Her violin lay broken in the rain.",
    "∫ x² dx = x³/3 + C",
)
SCORE = re.compile(r"=== response [0-9a-f]{12} ===\n(.*?)\n=== end", re.DOTALL)


def reply(request):
    """What the rewriter, the judge or the model that answers says; the judge's score follows from the response."""
    asked = prompt(request)
    if "You grade" in asked:
        response = SCORE.findall(asked)[-1]
        return f"{len(response) % 101}\nbecause" if zlib.crc32(response.encode()) % 3 else "I will not say."
    if "You refine" not in asked:
        last = request["messages"][-1]["content"]
        return f"{SAID[zlib.crc32(last.encode()) % len(SAID)]} {last}"
    block = asked.split("=== instruction ")[-1].split("\n=== end")[0].split("\n", 1)[1]
    return f"Revised prompt: {block} 한 단계씩 설명해 주세요."


@pytest.mark.usefixtures("ray_session")
def test_lift_rewrites_twice_and_keeps_the_best_judged_of_the_most_unusual(run, tmp_path):
    rows = [{**row, "instruction": f"{row['instruction']} ({row['number']})"} for row in records(30)]
    jsonl(tmp_path / "in.jsonl", rows)
    with served(reply) as server:
        fields = [f"{name}.endpoint={server.url}" for name in ("rewrite", "respond", "judge")]
        code, said = run("lift", "in.jsonl", "--out", "out", "max_errors=0.5", "max_unrated=0.6", *fields, store="own")
        assert code == 0, said
        judge = [asked for asked in server.prompts if "You grade" in asked]
        assert (len(server.requests), len(judge)) == (4 * 30 + 18, 18)
        code, again = run("--config", "out/manifest.yaml", "--out", "again", store="own")
        assert code == 0, again
        assert len(server.requests) == 4 * 30 + 18
    assert "90 samples" in said
    assert (tmp_path / "out/selected.jsonl").read_bytes() == (tmp_path / "again/selected.jsonl").read_bytes()

    table = ledger(tmp_path / "out")
    assert len(table) == 90
    assert [row["round"] for row in table] == [0] * 30 + [1] * 30 + [2] * 30
    assert [row["parent"] for row in table] == [None] * 30 + list(range(60))
    variance = np.array([row["variance"] for row in table])
    various = variance > np.percentile(variance, 80)
    assert various.sum() == 18
    assert [row["length_score"] is not None for row in table] == various.tolist()
    rated = [row for row in table if row["score"] is not None]
    refused = [row for row in table if row["reason"].startswith("the judge's reply contains no rating")]
    assert len(rated) + len(refused) == 18
    assert refused
    assert all("no_number" in row["reason"] for row in refused)
    for row in rated:
        assert row["score"] == pytest.approx(0.9 * row["judge_score"] + 0.1 * row["length_score"])
    best = sorted(rated, key=lambda row: (-row["score"], row["id"]))[:15]
    kept = sorted((row for row in table if row["state"] == "kept"), key=lambda row: row["rank"])
    assert [row["id"] for row in kept] == [row["id"] for row in best]
    chosen = [json.loads(line) for line in (tmp_path / "out/selected.jsonl").open()]
    assert [row["number"] for row in chosen] == [row["id"] % 30 for row in kept]
    assert all(row["instruction"].count("한 단계씩") == at["round"] for row, at in zip(chosen, kept, strict=True))

    manifest = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())
    assert manifest["counts"]["records"] == 90
    assert manifest["found"]["round 2"] == {"asked": 30, "rewritten": 30, "answered": 30, "repeats": 0, "added": 30}
    new = next(row["id"] for row in kept if row["round"])
    code, said = run("out", str(new), command=explain)
    assert code == 0
    assert "한 단계씩" in said


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("start", "seeds"), [("previous", [7]), ("original", [7, 8, 9])])
def test_rounds_start_from_what_the_last_one_added_or_from_the_originals_with_another_seed(make_pool, start, seeds):
    pool = make_pool(["Why do goats climb?", "天为什么是蓝的？"])
    nowhere = "http://127.0.0.1:1/v1"
    rewritings = [Rewrite(endpoint=nowhere, seed=seed) for seed in seeds]
    for rewrite in rewritings:
        put_values(pool, rewrite, [{"instruction": "", "input": "", "outcome": "unchanged", "cut": False}] * 2)
    larger = grown(pool, rewritings[0], Respond(endpoint=nowhere), 3, start, max_lost=1.0)
    asked = [entry for entry in pool.session.log if entry.get("map") == "rewrite"]
    assert [entry["fingerprint"] for entry in asked] == [rewrite.fingerprint() for rewrite in rewritings]
    assert [(entry["samples"], entry["computed"]) for entry in asked] == [(2, 0)] * len(seeds)
    counts = {"asked": 2, "rewritten": 0, "not_rewritten: unchanged": 2, "answered": 0, "repeats": 0, "added": 0}
    assert round_facts(larger) == {f"round {number}": counts for number in range(1, len(seeds) + 1)}


@pytest.mark.usefixtures("ray_session")
def test_a_round_that_loses_most_of_what_it_rewrites_or_answers_ends_the_run(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(12))

    def losing(who):
        return lambda request: (
            said("Half an", "length")
            if ("You refine" in prompt(request)) == (who == "rewrite") and "bread" not in prompt(request)
            else reply(request)
        )

    for who, other in (("rewrite", "respond"), ("respond", "rewrite")):
        with served(losing(who)) as server:
            fields = [f"{name}.endpoint={server.url}" for name in ("rewrite", "respond", "judge")]
            code, printed = run("lift", "in.jsonl", "--out", who, *fields, f"{who}.model.name=m", store=f"store-{who}")
            assert code == 3
            assert re.search(rf"{who}: \d+ of \d+ replies are of no use, more than max_lost=0.5 allows: unf", printed)
            assert f"{who}.max_tokens=1024 was too low: set {who}.max_tokens=4096" in printed
            assert other not in printed.splitlines()[-1]
            assert not [asked for asked in server.prompts if "You grade" in asked]


def test_without_rounds_no_model_rewrites():
    assert set(LIFT(rounds=0).steps()) == {"embed", "judge", "length"}
    assert {"rewrite", "respond"} < set(LIFT().steps())
