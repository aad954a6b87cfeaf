"""Records without an answer: `pytest tests/jobs/engine/ingest/test_answers.py`."""

import json

import pytest

from jobs.engine.ingest import IngestSettings, RecordFault
from jobs.engine.ingest.faults import Piece
from jobs.engine.ingest.files.forms import Form, form_of
from jobs.engine.ingest.findings import nothing_left, refuse_unreadable
from jobs.engine.ingest.records.records import samples_of
from jobs.engine.ingest.records.trees import whole_trees
from jobs.engine.terminal.errors import OverErrorBudget

ASKED = {"role": "user", "content": "1+1?"}
TOLD = {"role": "assistant", "content": "2"}
WRONG = {"role": "assistant", "content": "3"}
EMPTY = {"role": "assistant", "content": " \n\u3000"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}

UNANSWERED = [
    {"instruction": "a", "output": ""},
    {"instruction": "翻译", "input": "你好", "output": "\u3000\n"},
    {"query": "a", "response": "", "history": [["b", "c"]]},
    {"prompt": "a", "completion": " "},
    {"messages": [ASKED]},
    {"messages": [ASKED, EMPTY]},
    {"messages": [ASKED, TOLD, ASKED, EMPTY]},
    {"messages": [ASKED, TOLD, ASKED, EMPTY, ASKED]},
    {"conversations": [{"from": "human", "value": "a"}]},
    {"messages": [ASKED, TOLD, ASKED]},
    {"messages": [ASKED, CALL, {"role": "tool", "content": "2"}]},
    {"messages": [ASKED, {"role": "assistant", "content": "<think>\nOne and one"}]},
    {"query": "1+1?", "answers": "[]"},
]


def sample(record, **settings):
    return samples_of(json.dumps(record).encode(), IngestSettings(**settings))[0]


@pytest.mark.parametrize("record", UNANSWERED, ids=json.dumps)
def test_a_record_without_an_answer_is_none_unless_answers_are_optional(record):
    with pytest.raises(RecordFault) as raised:
        sample(record)
    assert raised.value.kind == "no_answer"
    assert "--keep-unanswered" in raised.value.message
    assert sample(record, answers="optional").messages


@pytest.mark.parametrize(
    "messages",
    [[ASKED, CALL], [ASKED, CALL, {"role": "tool", "content": "2"}, TOLD], [ASKED, EMPTY, TOLD]],
)
def test_a_call_is_an_answer_and_the_last_message_decides(messages):
    assert len(sample({"messages": messages}).messages) == len(messages)


PAIR = {"chosen": {"from": "gpt", "value": "2"}, "rejected": {"from": "gpt", "value": "3"}}
HUMAN = {"from": "human", "value": "1+1?"}


CHOSEN = [
    {"conversations": [HUMAN], **PAIR},
    {"conversations": [HUMAN, {"from": "gpt", "value": "4"}], **PAIR},
    {"messages": [ASKED], "chosen": [TOLD], "rejected": [WRONG]},
    {"prompt": "1+1?", "chosen": "2", "rejected": "3"},
    {"prompt": [ASKED], "chosen": [TOLD], "rejected": [WRONG]},
    {"prompt": "1+1?", "chosen": [ASKED, TOLD], "rejected": [ASKED, WRONG]},
    {"chosen": [ASKED, TOLD], "rejected": [ASKED, WRONG]},
    {"instruction": "1+1?", "input": "", "chosen": "2", "rejected": "3"},
    {"instruction": "1+1?", "output": "", "chosen": "2", "rejected": "3"},
    {"question": "1+1?", "chosen": "2", "rejected": "3"},
    {"chosen": "\n\nHuman: 1+1?\n\nAssistant: 2", "rejected": "\n\nHuman: 1+1?\n\nAssistant: 3"},
    {"messages": [ASKED, TOLD], "rejected_response": "3"},
    {"messages": [ASKED, TOLD], "rejected_messages": [ASKED, WRONG]},
]


@pytest.mark.parametrize("record", CHOSEN, ids=json.dumps)
def test_of_a_pair_the_chosen_answer_is_the_sample_and_both_are_where_they_are_wanted(record):
    raw = json.dumps(record).encode()
    assert [each.messages for each in samples_of(raw, IngestSettings())] == [[ASKED, TOLD]]
    both = samples_of(raw, IngestSettings(pairs="both"))
    assert [each.messages for each in both] == [[ASKED, TOLD], [ASKED, WRONG]]
    assert both[0].raw is None
    assert [each.messages for each in samples_of(both[1].raw, IngestSettings())] == [[ASKED, WRONG]]
    assert len({each.hashes.kind for each in both}) == 2
    with pytest.raises(RecordFault, match="skipped_pair"):
        samples_of(raw, IngestSettings(pairs="skip"))


@pytest.mark.parametrize(
    "record", [{"prompt": "1+1?", "completion": "3"}, {"messages": [ASKED, WRONG]}], ids=json.dumps
)
def test_an_answer_that_is_not_desired_is_no_sample_unless_both_are_wanted(record):
    for label, count in ((True, 1), (False, 0)):
        raw = json.dumps({**record, "label": label}).encode()
        assert len(samples_of(raw, IngestSettings(pairs="both"))) == 1
        assert len(samples_of(raw, IngestSettings(answers="optional"))) == 1  # a label to learn
        if count:
            assert samples_of(raw, IngestSettings())
        else:
            with pytest.raises(RecordFault, match="undesired"):
                samples_of(raw, IngestSettings())


def test_a_tree_gives_every_path_to_a_last_answer_with_its_rank():
    def said(text, role, *replies, **more):
        return {"text": text, "role": role, "replies": list(replies), **more}

    one = said(
        "A1", "assistant", said("问", "prompter", said("答", "assistant", rank=0)), said("?", "prompter"), rank=0
    )
    tree = {"message_tree_id": "t", "prompt": said("Q", "prompter", one, said("A2", "assistant", rank=1))}
    found = samples_of(json.dumps(tree).encode(), IngestSettings())
    assert [[each["content"] for each in sample.messages] for sample in found] == [["Q", "A1", "问", "答"], ["Q", "A2"]]
    assert [json.loads(sample.raw)["rank"] for sample in found] == [0, 1]
    assert [samples_of(sample.raw, IngestSettings())[0].messages for sample in found] == [
        each.messages for each in found
    ]
    with pytest.raises(RecordFault, match="no message of the tree has an answer"):
        samples_of(json.dumps({"prompt": said("Q", "prompter")}).encode(), IngestSettings())


def test_the_rows_of_a_tree_are_the_samples_of_the_tree():
    def row(name, parent, text, role, tree="t", **more):
        return {"message_tree_id": tree, "message_id": name, "parent_id": parent, "text": text, "role": role, **more}

    rows = [
        row("1", None, "Q", "prompter"),
        row("2", "1", "A1", "assistant", rank=1),
        row("3", "2", "问", "prompter"),
        row("4", "3", "答", "assistant", rank=0),
        row("5", "1", "A2", "assistant", rank=0),
        row("6", None, "Q2", "prompter", tree="u"),
        {"instruction": "a", "output": "b"},
        row("7", None, "Q3", "prompter", tree="v"),
        row("8", "7", "A3", "assistant", tree="v"),
    ]
    pieces = [Piece(number, json.dumps(each).encode()) for number, each in enumerate(rows, 1)]
    first, second, plain, last = whole_trees(pieces)
    assert (first.line, second.line, plain, last.line) == (5, 6, pieces[6], 9)
    found = samples_of(first.raw, IngestSettings())
    assert [[each["content"] for each in sample.messages] for sample in found] == [["Q", "A1", "问", "答"], ["Q", "A2"]]
    assert [json.loads(sample.raw)["rank"] for sample in found] == [0, 0]
    with pytest.raises(RecordFault, match="no message of the tree has an answer"):
        samples_of(second.raw, IngestSettings())
    assert form_of(pieces[0].raw + b"\n", "a.jsonl") == Form("lines", trees=True)
    assert not form_of(pieces[0].raw + b"\n", "a.jsonl").splittable


def test_rows_of_which_one_would_be_lost_in_their_tree_are_refused_together():
    def rows(*triples):
        return [
            {"message_tree_id": "t", "message_id": name, "parent_id": parent, "text": text,
             "role": "assistant" if parent else "prompter"}
            for name, parent, text in triples
        ]  # fmt: skip

    def tree(given):
        (piece,) = whole_trees(Piece(number, json.dumps(each).encode()) for number, each in enumerate(given, 1))
        return piece

    once = rows(("1", None, "Q"), ("2", "1", "A"))
    assert tree([each for each in once for _ in range(2)])._replace(line=2) == tree(once)
    for given, says in (
        ([*once, *rows(("2", "1", "B"))], "two messages of a tree have the message_id '2'"),
        ([*once, *rows(("3", "4", "x"), ("4", "3", "y"))], "in a circle"),
        ([*once, *rows(("3", "3", "x"))], "in a circle"),
        (rows(*((str(each), str(each - 1), "x") for each in range(1000))), "deeper than can be read"),
    ):
        found = tree(given)
        assert says in found.fault.message
        assert found.raw.count(b"\n") == len(given) - 1
    numbered = rows((1, None, "Q"), (2, 1.0, "A"))  # pandas has no whole numbers beside a null
    assert [each.messages[1]["content"] for each in samples_of(tree(numbered).raw, IngestSettings())] == ["A"]
    odd = {**once[0], "message_id": {"$oid": "1"}}
    assert [piece.raw for piece in whole_trees([Piece(1, json.dumps(odd).encode())])] == [json.dumps(odd).encode()]


def test_a_record_made_of_a_part_of_another_is_utf_8_whatever_its_fields_hold():
    half = {"rank": "\ud800", "text": "A", "role": "assistant", "replies": []}
    tree = {"prompt": {"text": "问", "role": "prompter", "replies": [half]}}
    (found,) = samples_of(json.dumps(tree).encode(), IngestSettings())
    pair = {"prompt": "q", "chosen": "a", "rejected": "b", "tag": "\ud800"}
    _, other = samples_of(json.dumps(pair).encode(), IngestSettings(pairs="both"))
    assert json.loads(found.raw.decode())["rank"] == json.loads(other.raw.decode())["tag"] == "\ud800"


def test_a_corpus_without_any_sample_is_not_told_to_allow_for_that():
    for samples, told in ((0, "has them all)"), (1, "or allow as many: --max-unreadable 0.98")):
        facts = {"records": 50, "quarantined": 50 - samples, "samples": samples, "reasons": {"missing_field": 50}}
        with pytest.raises(OverErrorBudget) as raised:
            refuse_unreadable(facts, "pool", 0.05)
        assert str(raised.value).endswith(told)
    facts = {"records": 50, "quarantined": 50, "samples": 0, "reasons": {"missing_field": 10, "over_share": 40}}
    assert nothing_left(facts) == "no sample is left: 40 over_share"
    assert nothing_left({**facts, "reasons": {"missing_field": 50}}) == "no record could be read as a sample"


def test_a_corpus_that_is_allowed_what_it_was_told_to_allow_is_readable():
    facts = {"records": 100, "quarantined": 29, "samples": 71, "reasons": {"missing_field": 29}}
    with pytest.raises(OverErrorBudget, match=r"--max-unreadable 0\.29$"):
        refuse_unreadable(facts, "pool", 0.05)
    refuse_unreadable(facts, "pool", 0.29)
