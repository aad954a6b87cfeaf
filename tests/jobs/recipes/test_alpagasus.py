"""AlpaGasus through the command: a scripted server that rates, and a real judge by vLLM."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from jobs.engine.store.store import Store
from operators.asking.judge import Judge
from operators.checkpoint import Checkpoint
from tests.jobs.corpora import jsonl, ledger, records
from tests.raters import answer, length_judge, rating
from tests.servers import failed, prompt, said, served

NUMBER = re.compile(r"\d+")


def own_rating(request) -> float:
    """A rating by the number in the sample's response: 0 to 5 in halves."""
    return int(NUMBER.search(prompt(request).split("=== response")[1].split("\n", 1)[1])[0]) % 11 / 2


def fields(server) -> list[str]:
    return [f"judge.endpoint={server.url}", "judge.model.name=any"]


def kept_numbers(folder) -> set[int]:
    return {json.loads(line)["number"] for line in (folder / "selected.jsonl").read_text().splitlines()}


def test_keeps_what_the_server_rates_high_enough_and_loses_nothing_to_its_faults(run, tmp_path):
    rows = records(66)
    jsonl(tmp_path / "in.jsonl", rows)
    tried = set()

    def reply(request):
        number = int(NUMBER.search(prompt(request).split("=== response")[1].split("\n", 1)[1])[0])
        again = number in tried
        tried.add(number)
        if not again and number % 7 == 0:
            return [failed(429, seconds=0.05), failed(503), (200, {}, b'{"choices": [{"me')][number % 3]
        if number % 13 == 12:
            return "A splendid answer, which speaks for itself."
        if number % 20 == 3:
            time.sleep(0.2)
        return f"{own_rating(request):g}\nIt is so."

    with served(reply) as server:
        code, said = run("alpagasus", "in.jsonl", "--out", "a", *fields(server), "threshold=4.5")
        assert code == 0, said
        asked = len(server.requests)
        unparsable = {number for number in range(66) if number % 13 == 12}
        assert kept_numbers(tmp_path / "a") == {n for n in range(66) if n % 11 / 2 >= 4.5} - unparsable
        manifest = yaml.safe_load((tmp_path / "a/manifest.yaml").read_text())
        assert sum(manifest["found"]["ratings"].values()) == 66 - len(unparsable)
        assert sum(manifest["found"]["unrated"].values()) == len(unparsable)
        reasons = [row["reason"] for row in ledger(tmp_path / "a") if row["score"] is None]
        assert len(reasons) == len(unparsable)
        assert all(reason.startswith("the judge's reply contains no rating: ") for reason in reasons)
        code, _ = run("alpagasus", "in.jsonl", "--out", "b", *fields(server), "fraction=0.5", "budget=20")
        assert code == 0
        assert len(server.requests) == asked, "another threshold asks nothing"
        assert len(kept_numbers(tmp_path / "b")) == 20
        assert yaml.safe_load((tmp_path / "b/manifest.yaml").read_text())["found"]["judge.score at least"] == 3.0
    code, said = run("alpagasus", "in.jsonl", "--out", "c", *fields(server), "judge.dimension=helpfulness")
    assert code == 1
    assert "no server answers at http://127.0.0.1" in said
    (tmp_path / "rubric.txt").write_text("[user]\n{instruction}\nRate it.")
    code, said = run("alpagasus", "in.jsonl", "--out", "c", "judge.prompt.name=rubric.txt")
    assert code == 2
    assert "rubric.txt: the placeholder {response} is missing" in said


@pytest.mark.fault(
    "a server fails, stalls or answers nonsense",
    how="401 after 15 of 40 answers",
    holds="exit code 1; the next run asks for the 25 others only",
)
def test_a_server_that_goes_away_or_refuses_ends_the_run_and_what_it_said_is_kept(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(40))
    answered = []

    def reply(request):
        if len(answered) >= 15:
            return failed(401, "no more")
        answered.append(prompt(request))
        return "5"

    with served(reply) as server:
        code, said = run(
            "alpagasus", "in.jsonl", "--out", "a", *fields(server), "judge.concurrency=1", store=tmp_path / "own"
        )
        assert code == 1
        assert "refuses the key (HTTP 401)" in said
        kept = set(answered)
        answered.clear()
        server.reply = lambda request: answered.append(prompt(request)) or "5"
        code, said = run("alpagasus", "in.jsonl", "--out", "a", *fields(server), store=tmp_path / "own")
        assert code == 0
        assert "15 in the store, 25 to compute" in said
    assert not kept & set(answered)
    assert len(kept_numbers(tmp_path / "a")) == 40


@pytest.mark.usefixtures("ray_session")
def test_too_many_replies_without_a_rating_end_the_run_with_the_first_of_them_and_are_kept(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", records(12))

    def reply(request):
        if own_rating(request) >= 3.5:
            return "I would say that it is a 4, all in all."
        return "8/10" if own_rating(request) == 3 else f"Accuracy: {own_rating(request):g}\nIt is so."

    with served(reply) as server:
        words = ["alpagasus", "in.jsonl", "--out", "a", *fields(server), "threshold=1"]
        code, printed = run(*words, store=tmp_path / "own")
        assert code == 3
        assert (
            "judge: 5 of 12 replies are of no use, more than max_unrated=0.2 allows: prose 4, other_scale 1." in printed
        )
        assert "prose: I would say that it is a 4, all in all." in printed
        assert "other_scale: 8/10" in printed
        assert "set max_unrated=0.42 to continue without them" in printed
        assert not (tmp_path / "a/selected.jsonl").exists()
        asked = len(server.requests)
        code, printed = run(*words, "max_unrated=0.42", store=tmp_path / "own")
        assert code == 0, printed
        assert len(server.requests) == asked
        # What version 2 of the judge rated is not asked for again, and what it could not read is.
        store, judge = Store(str(tmp_path / "own")), Judge(model=Checkpoint("any"), endpoint=server.url)
        Path(store.operator_folder(judge)).rename(store.operator_folder(judge, 2))
        more = ["max_unrated=0.42", "threshold=2", "budget=11", "--out", "b"]
        code, printed = run(*words, *more, store=tmp_path / "own")
        assert code == 0, printed
        assert "budget not met: 2 kept of 11: rated below the threshold (5), the judge's reply contains no" in printed
        assert "judge: 12 samples, 0 in the store, 7 known from an earlier run, 5 to compute" in printed
        assert len(server.requests) == asked + 5
        code, printed = run(*words, "budget=13", "--out", "c", store=tmp_path / "own")
        assert code == 2
        assert "budget 13 is above the 12 samples of the pool" in printed
        assert not (tmp_path / "c").exists()
        code, printed = run(*words, "--plan", store=tmp_path / "own")
        assert "max_unrated 0.2" in printed
    manifest = yaml.safe_load((tmp_path / "a/manifest.yaml").read_text())
    assert manifest["run"]["fields"]["max_unrated"] == 0.42
    assert sum(manifest["found"]["unrated"].values()) == 5
    shown = {"prose": "I would say that it is a 4, all in all.", "other_scale": "8/10"}
    replies = {f"the judge's reply contains no rating: {outcome}": reply for outcome, reply in shown.items()}
    assert manifest["found"]["replies without a rating"] == replies
    page = " ".join((tmp_path / "a/report.html").read_text().split())  # the manifest in it breaks long lines
    assert [reply for reply in shown.values() if reply not in page] == []
    assert "budget not met" in (tmp_path / "b/report.html").read_text()


@pytest.mark.usefixtures("ray_session")
def test_a_judge_that_thinks_until_its_tokens_end_stops_the_run_early_and_is_told_the_field(run, tmp_path):
    jsonl(tmp_path / "few.jsonl", records(12))
    jsonl(tmp_path / "many.jsonl", records(66, "x"))

    def reply(request):
        short = request["max_tokens"] == 32
        return said("<think>\nOkay, the user wants", "length") if short else "<think>Okay.</think>\n4.5\nbecause"

    with served(reply) as server:
        limits = [*fields(server), "judge.concurrency=1"]
        code, printed = run("alpagasus", "few.jsonl", "--out", "a", *limits, store="own")
        assert code == 3
        assert "12 of 12 replies are of no use, more than max_unrated=0.2 allows: unfinished 12" in printed
        assert "unfinished: <think> Okay, the user wants" in printed
        assert "judge.max_tokens=32 was too low: set judge.max_tokens=2048" in printed
        server.requests.clear()
        code, printed = run("alpagasus", "many.jsonl", "--out", "b", *limits, store="own")
        assert code == 3
        assert "judge: all of the first 20 replies were cut at 32 tokens, before there was an answer" in printed
        assert "set judge.max_tokens=2048" in printed
        assert len(server.requests) < 30
        code, printed = run("alpagasus", "many.jsonl", "--out", "b", *limits, "judge.max_tokens=2048", store="own")
        assert code == 0, printed
        assert len(kept_numbers(tmp_path / "b")) == 66


@pytest.mark.slow
def test_a_real_judge_by_vllm_agrees_with_its_rule_on_samples_it_has_not_seen(run, tmp_path):
    judge = length_judge(tmp_path / "judge")
    draw = np.random.default_rng(77)
    rows = [{"instruction": f"Say it {i}", "output": answer(1 + i % 12, draw), "number": i} for i in range(96)]
    jsonl(tmp_path / "in.jsonl", rows)
    overrides = {
        "model.name": judge.model.name,
        "prompt.name": judge.prompt.name,
        "form": judge.form,
        "lowest": judge.lowest,
        "highest": judge.highest,
        "context": judge.context,
    }
    words = [f"judge.{name}={value}" for name, value in overrides.items()]
    code, said = run("alpagasus", "in.jsonl", "--out", "a", *words, "threshold=2.5")
    assert code == 0, said
    table = {row["line"]: row for row in ledger(tmp_path / "a")}
    scores = np.array([table[i + 1]["score"] for i in range(96)])
    rule = np.array([rating(row["output"]) for row in rows])
    ranks = [np.unique(values, return_inverse=True)[1].astype(float) for values in (np.round(scores), rule)]
    assert np.corrcoef(*ranks)[0, 1] > 0.9
    wanted = {i for i in range(96) if rule[i] >= 3}
    kept = kept_numbers(tmp_path / "a")
    assert len(kept & wanted) / len(kept | wanted) > 0.9
