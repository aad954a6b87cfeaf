"""Growing a pool: new records, one round after another, and what a round that was cut off asks again."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from jobs.engine.grow import growing as grow
from jobs.engine.ingest import messages_of
from jobs.engine.ingest.records.formats import FORMATS
from jobs.engine.ingest.records.written import written
from jobs.engine.pool.pool import Pool
from jobs.engine.samples.reading import read_samples
from jobs.engine.terminal.errors import OverErrorBudget, WinnowError
from operators.asking.respond import Respond
from operators.asking.rewrite import Rewrite
from operators.sample import SAMPLE, text_sha
from tests.servers import failed, prompt, said, served

RECORDS = [
    ({"instruction": "Sort", "input": "3, 1", "output": "x", "tag": 1.5}, True),
    ({"instruction": "Sort", "input": "", "output": "x"}, True),
    ({"instruction": "Sort", "output": "x"}, False),
    ({"instruction": "Trie", "context": None, "response": "x", "category": "é"}, True),
    ({"query": "Sort", "response": "x", "history": [["Hi", "Hello"]], "system": "Be brief."}, False),
    ({"prompt": "Sort", "completion": "x", "source": None}, False),
    ({"prompt": "Sort", "response": "x"}, False),
    ({"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Sort"}],
      "completion": [{"role": "assistant", "content": "x"}]}, False),
    ({"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": "Sort", "id": 3},
                   {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]},
                   {"role": "tool", "content": "1"}, {"role": "assistant", "content": "x"}], "tools": [{"name": "f"}]},
     False),
    ({"conversations": [{"from": "human", "value": "排序"}, {"from": "gpt", "value": "x"},
                        {"from": "human", "value": "再来"}, {"from": "gpt", "value": "y"}], "lang": "zh"}, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "apart"), RECORDS, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
@pytest.mark.parametrize("context", ["", "1, 2"])
def test_a_written_record_has_the_format_the_opening_and_the_other_fields_of_the_old_one(record, apart, context):
    name, old = messages_of(record)
    raw = written(json.dumps(record).encode(), "排序并解释。", context, "好的。")
    made = json.loads(raw)
    found, messages = messages_of(made)
    opening = [each for each in old if each["role"] in ("tools", "system")]
    asked = f"排序并解释。\n{context}" if context else "排序并解释。"
    turn = [{"role": "user", "content": asked}, {"role": "assistant", "content": "好的。"}]
    assert (found, messages) == (name, [*opening, *turn])
    assert list(made) == list(record)
    if apart:
        assert made["instruction"] == "排序并解释。"
    told = {"instruction", "input", "output", "context", "response", "query", "history", "prompt", "completion",
            "messages", "conversations"}  # fmt: skip
    assert {key: made[key] for key in made if key not in told} == {key: record[key] for key in made if key not in told}


TURNS = {each.name for each in FORMATS if each.turn or each.chat}


def test_every_format_that_is_read_can_be_written():
    asked = [{"role": "user", "content": "Sort"}]
    records = [
        {"question": "Sort", "response": "x", "system_prompt": "S"},
        {"question": "Sort", "answer": "x"},
        {"problem": "Sort", "solution": "x"},
        {"input": "Sort", "output": "x"},
        {"input": asked, "output": "x"},
        {"query": "Sort", "answers": '[{"name": "f"}]', "tools": '[{"name": "f"}]', "id": 1},
        {"prompt": "Sort", "chosen": "x", "rejected": "y", "id": 1},
        {"messages": [*asked, {"role": "assistant", "content": "x"}], "rejected_response": "y", "id": 1},
        {"dialog": ["Sort", "x"]},
        {"inputs": "Sort", "targets": "x", "id": 1},
        {"input": "Sort", "target": "x"},
        {"question": "Sort", "solution": "x", "answer": "1"},
        {"text": "### Human: Sort### Assistant: x"},
        {"contents": [{"role": "user", "parts": [{"text": "Sort"}]}, {"role": "model", "parts": [{"text": "x"}]}]},
        {"instruction": "Sort", "response": "x", "conversations": [*asked, {"from": "gpt", "value": "x"}], "id": 1},
    ]
    for record in records:
        name, old = messages_of(record)
        made = json.loads(written(json.dumps(record).encode(), "new", "", "done"))
        opening = [each for each in old if each["role"] in ("tools", "system")]
        turn = [{"role": "user", "content": "new"}, {"role": "assistant", "content": "done"}]
        kept = messages_of(made)
        assert kept == (
            name if isinstance(record.get("input", ""), str) and name in TURNS else "openai",
            [*opening, *turn],
        )
        assert made.get("id") == record.get("id")
    records += [record for record, _ in RECORDS]
    assert {messages_of(record)[0] for record in records} == {each.name for each in FORMATS}
    bare = written(json.dumps([*asked, {"role": "assistant", "content": "x"}]).encode(), "new", "", "done")
    assert [each["content"] for each in json.loads(bare)] == ["new", "done"]
    columns = {"instruction": "q", "response": "a", "input": "about", "system": "s"}
    raw = written(b'{"q": "1", "a": "2", "about": "3", "s": "S", "n": "\\ud83d"}', "new", "with", "done", columns)
    assert json.loads(raw) == {"q": "new", "a": "done", "about": "with", "s": "S", "n": "\ud83d"}
    assert [each["content"] for each in messages_of(json.loads(raw), columns)[1]] == ["S", "new\nwith", "done"]


def test_a_chat_keeps_its_own_words_for_the_roles_and_names_of_the_fields():
    chat = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    made = json.loads(written(json.dumps(chat).encode(), "new", "", "done"))
    assert made["conversations"] == [{"from": "human", "value": "new"}, {"from": "gpt", "value": "done"}]


LINES = [
    {"instruction": "plain", "input": "data", "output": "0", "task": "t"},
    {"instruction": "cutoff", "output": "0"},
    {"instruction": "same", "output": "0"},
    {"instruction": "silent", "output": "0"},
    {"instruction": "refused", "output": "0"},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "平铺"},
                  {"role": "assistant", "content": "0"}]},
    {"instruction": "mute", "response": "0", "context": ""},
    {"instruction": "twin one", "output": "0"},
    {"instruction": "twin two", "output": "0"},
    {"instruction": "endless", "output": "0"},
    {"instruction": "known", "output": "0"},
    {"instruction": "harder known", "output": "answer to harder known"},
]  # fmt: skip


class Script:
    """The rewriter and the model that answers, in one; `left` answers, then the key is refused."""

    def __init__(self):
        self.left = 10_000
        self.answered = []

    def __call__(self, request):
        self.left -= 1
        if self.left < 0:
            return failed(401, "no more")
        asked = prompt(request)
        self.answered.append(asked)
        if "You refine" not in asked:
            last = request["messages"][-1]["content"]
            return said("" if "mute" in last else f"answer to {last}", "length" if "endless" in last else "stop")
        block = asked.split("=== instruction ")[-1].split("\n=== end")[0].split("\n", 1)[1]
        if block == "refused":
            return failed(400, "not this one")
        if block == "plain":
            return said("harder plain\nInput:\nnew data")
        texts = {"same": "SAME", "silent": " ", "twin one": "twin", "twin two": "twin"}
        return said(texts.get(block, f"harder {block}"), "length" if block == "cutoff" else "stop")


@contextmanager
def script():
    replies = Script()
    with served(replies) as server:
        yield replies, server


@pytest.fixture
def pool(tmp_path, session, ray_session):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in LINES))
    return Pool.of([str(tmp_path / "in.jsonl")], replace(session, max_errors=0.2))


def operators(server, **fields):
    where = {"endpoint": server.url, "concurrency": 1, **fields}
    return {"rewrite": Rewrite(**where), "respond": Respond(**where)}


def rows(pool, ids):
    return [row for table in read_samples(pool.parts, np.asarray(ids), SAMPLE.names) for row in table.to_pylist()]


def test_a_round_adds_answered_samples_counts_the_rest_and_is_followed_by_another(pool):
    with script() as (_, server):
        larger = pool.grow(**operators(server))
        asked = len(server.requests)
        again = pool.grow(**operators(server, concurrency=4))
        assert len(server.requests) == asked == 19  # the twins' new instruction is the same
        assert again.folder == larger.folder
        second = larger.grow(**operators(server), only=larger[np.array([12, 13])])
    assert larger.facts["rounds"] == [
        {
            "asked": 12,
            "rewritten": 8,
            "not_rewritten": {"bad_request": 1, "empty": 1, "unchanged": 1, "unfinished": 1},
            "answered": 6,
            "not_answered": {"empty": 1, "unfinished": 1},
            "repeats": 2,
            "added": 4,
        }
    ]
    assert (pool.samples, larger.samples, larger.facts["records"]) == (12, 16, 16)
    assert rows(larger, np.arange(12)) == rows(pool, np.arange(12))
    new = rows(larger, np.arange(12, 16))
    assert [row["id"] for row in new] == [12, 13, 14, 15]
    assert [json.loads(row["raw"]) for row in new] == [
        {"instruction": "harder plain", "input": "new data", "output": "answer to harder plain\nnew data", "task": "t"},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "harder 平铺"},
                      {"role": "assistant", "content": "answer to harder 平铺"}]},
        {"instruction": "twin", "output": "answer to twin"},
        {"instruction": "harder harder known", "output": "answer to harder harder known"},
    ]  # fmt: skip
    assert [row["line"] for row in new] == [1, 6, 8, 12]
    for row in new:
        row["messages"] = [{name: text for name, text in each.items() if text is not None} for each in row["messages"]]
        assert row["messages"] == messages_of(json.loads(row["raw"]))[1]
        assert row["text_sha"] == text_sha(row["messages"], json.loads(row["raw"]))
    assert [row["sha"] == row["text_sha"] for row in new] == [False, True, True, True]  # the first has a task
    found = second.lineage()
    assert found.parent.tolist() == [-1] * 12 + [0, 5, 7, 11, 12, 13]
    assert found.round.tolist() == [0] * 12 + [1] * 4 + [2] * 2
    assert second.facts["rounds"][1]["added"] == 2
    assert json.loads(rows(second, [16])[0]["raw"])["instruction"] == "harder harder plain"
    assert pool.lineage().round.tolist() == [0] * 12
    assert Pool.open(second.folder, pool.session).facts["samples"] == 18


@pytest.mark.fault(
    "the driver is killed",
    how="a round of LIFT that ends while it rewrites, while it answers, and before its pool is whole",
    holds="the next run asks for nothing that was answered",
)
def test_a_round_that_was_cut_off_anywhere_asks_nothing_twice(pool, monkeypatch):
    with script() as (replies, server):
        asking = operators(server)
        for left in (5, 10):  # within the rewriting, within the answering
            replies.left = left
            with pytest.raises(WinnowError, match="refuses the key"):
                pool.grow(**asking)
        replies.left = 10_000
        with monkeypatch.context() as patch:
            patch.setattr(grow, "_write_lineage", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                pool.grow(**asking)
        larger = pool.grow(**asking)
    assert len(replies.answered) == len(set(replies.answered)) == 19
    assert larger.samples == 16


def test_a_round_over_the_error_budget_fails_and_one_that_adds_nothing_is_the_same_pool(pool):
    strict = replace(pool, session=replace(pool.session, max_errors=0.0))
    with script() as (_, server):
        with pytest.raises(OverErrorBudget, match=r"bad_request: .*not this one"):
            strict.grow(**operators(server))
        same = pool.grow(**operators(server), only=pool[np.array([1, 2, 3])])
    assert same.samples == 12
    assert same.facts["fingerprint"] == pool.facts["fingerprint"]
    assert same.facts["rounds"][0] == {
        "asked": 3, "rewritten": 0, "not_rewritten": {"empty": 1, "unchanged": 1, "unfinished": 1}, "answered": 0,
        "not_answered": {}, "repeats": 0, "added": 0,
    }  # fmt: skip
    assert same.lineage().round.tolist() == [0] * 12
