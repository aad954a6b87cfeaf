"""Records without an answer: `pytest tests/jobs/engine/ingest/test_answers.py`."""

import json

import pytest

from jobs.engine.ingest import IngestSettings, RecordFault
from jobs.engine.ingest.records.records import sample_of

ASKED = {"role": "user", "content": "1+1?"}
TOLD = {"role": "assistant", "content": "2"}
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
]


def sample(record, **settings):
    return sample_of(json.dumps(record).encode(), IngestSettings(**settings))


@pytest.mark.parametrize("record", UNANSWERED, ids=json.dumps)
def test_a_record_without_an_answer_is_none_unless_answers_are_optional(record):
    with pytest.raises(RecordFault) as raised:
        sample(record)
    assert raised.value.kind == "no_answer"
    assert "--answers optional" in raised.value.message
    assert sample(record, answers="optional").messages


@pytest.mark.parametrize(
    "messages",
    [[ASKED, CALL], [ASKED, TOLD, ASKED], [ASKED, CALL, {"role": "tool", "content": "2"}], [ASKED, EMPTY, TOLD]],
)
def test_a_call_answers_and_a_last_question_takes_no_answer_away(messages):
    assert len(sample({"messages": messages}).messages) == len(messages)


PAIR = {"chosen": {"from": "gpt", "value": "2"}, "rejected": {"from": "gpt", "value": "3"}}
HUMAN = {"from": "human", "value": "1+1?"}


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": [HUMAN], **PAIR},
        {"conversations": [HUMAN, {"from": "gpt", "value": "2"}, HUMAN], **PAIR},
        {"messages": [ASKED], "chosen": [TOLD], "rejected": [TOLD]},
        {"prompt": "1+1?", "chosen": "2", "rejected": "3"},
        {"prompt": [ASKED], "chosen": [TOLD], "rejected": [TOLD]},
        {"instruction": "1+1?", "input": "", "chosen": "2", "rejected": "3"},
        {"instruction": "1+1?", "output": "", "chosen": "2", "rejected": "3"},
        {"chosen": "\n\nHuman: 1+1?\n\nAssistant: 2", "rejected": "\n\nHuman: 1+1?\n\nAssistant: 3"},
    ],
    ids=json.dumps,
)
def test_a_preference_record_whose_answers_stand_apart_is_refused_by_their_names(record):
    with pytest.raises(RecordFault) as raised:
        sample(record)
    assert raised.value.kind == "no_answer"
    assert "chosen and rejected" in raised.value.message


def test_a_preference_record_that_holds_its_answer_is_read_and_so_is_one_whose_answer_is_named():
    found = sample({"prompt": "1+1?", "messages": [ASKED, TOLD], "chosen": [ASKED, TOLD], "rejected": [ASKED, EMPTY]})
    assert found.messages == [ASKED, TOLD]
    record = {"prompt": "1+1?", "chosen": "2", "rejected": "3"}
    assert sample(record, columns={"instruction": "prompt", "response": "chosen"}).messages == [ASKED, TOLD]
