"""Each format by its records: `pytest tests/jobs/engine/ingest/test_formats.py`."""

import json

import pytest
from pydantic import ValidationError

from jobs.engine.ingest import IngestSettings, RecordFault, messages_of
from jobs.engine.ingest.records.records import samples_of
from operators.sample import said

U, A, S, T, TOOLS = "user", "assistant", "system", "tool", "tools"
HELLO = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


@pytest.mark.parametrize(
    ("record", "name", "expected"),
    [
        ({"instruction": "翻译", "input": "你好", "output": "hello"}, "alpaca", [(U, "翻译\n你好"), (A, "hello")]),
        ({"instruction": "a", "input": "", "output": "b"}, "alpaca", [(U, "a"), (A, "b")]),
        ({"instruction": "a", "input": None, "output": "b"}, "alpaca", [(U, "a"), (A, "b")]),
        ({"instruction": "a", "output": ""}, "alpaca", [(U, "a"), (A, "")]),
        (
            {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]},
            "alpaca",
            [(S, "s"), (U, "a"), (A, "b"), (U, "c"), (A, "d")],
        ),
        ({"instruction": "a", "context": "c", "response": "b"}, "dolly", [(U, "a\nc"), (A, "b")]),
        (
            {"conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}], "system": "s"},
            "sharegpt",
            [(S, "s"), (U, "问"), (A, "答")],
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "Human", "value": "q"},
                    {"from": "function_call", "value": "f()"},
                    {"from": "observation", "value": "1"},
                    {"from": "bard", "value": "r"},
                ],
                "tools": '[{"name": "f"}]',
            },
            "sharegpt",
            [(TOOLS, '[{"name": "f"}]'), (S, "s"), (U, "q"), (A, "f()"), (T, "1"), (A, "r")],
        ),
        ({"conversations": HELLO}, "sharegpt", [(U, "hi"), (A, "ho")]),
        (
            {
                "messages": [
                    {"role": "developer", "content": "s"},
                    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                    {"role": "assistant", "content": None, "tool_calls": [{"name": "查"}]},
                    {"role": "tool", "content": "r"},
                ],
                "tools": [{"name": "查"}],
            },
            "openai",
            [(TOOLS, '[{"name": "查"}]'), (S, "s"), (U, "a\nb"), (A, '[{"name": "查"}]'), (T, "r")],
        ),
        ({"messages": HELLO, "prompt": "x", "completion": "y"}, "openai", [(U, "hi"), (A, "ho")]),
        ({"prompt": "a", "completion": "b"}, "prompt-completion", [(U, "a"), (A, "b")]),
        ({"prompt": "a", "response": "b"}, "prompt-completion", [(U, "a"), (A, "b")]),
        ({"prompt": HELLO[:1], "completion": HELLO[1:]}, "prompt-completion", [(U, "hi"), (A, "ho")]),
        (
            {"query": "c", "response": "d", "history": [["a", "b"]]},
            "query-response",
            [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
        ),
        ({"messages": None, "instruction": "a", "output": "b"}, "alpaca", [(U, "a"), (A, "b")]),
        ({"messages": [], "instruction": "a", "output": "b"}, "alpaca", [(U, "a"), (A, "b")]),
        (
            {"conversations": ["你好", "hello", "再见", "bye"]},
            "sharegpt",
            [(U, "你好"), (A, "hello"), (U, "再见"), (A, "bye")],
        ),
        ({"conversation": [{"human": "a", "assistant": "b"}]}, "sharegpt", [(U, "a"), (A, "b")]),
        (
            {"conversation": [{"assistant": "b", "human": "a", "system": "s"}]},
            "sharegpt",
            [(S, "s"), (U, "a"), (A, "b")],
        ),
        ({"dialog": HELLO}, "sharegpt", [(U, "hi"), (A, "ho")]),
        ({"messages": json.dumps(HELLO)}, "openai", [(U, "hi"), (A, "ho")]),
        ({"messages": {"role": ["user", "assistant"], "content": ["hi", "ho"]}}, "openai", [(U, "hi"), (A, "ho")]),
        (
            {"messages": [{"role": None, "from": "human", "content": None, "value": "hi"}, HELLO[1]]},
            "openai",
            [(U, "hi"), (A, "ho")],
        ),
        (
            {"system_prompt": "s", "question": "a", "response": "b", "id": "x"},
            "openorca",
            [(S, "s"), (U, "a"), (A, "b")],
        ),
        ({"question": "a", "answer": "b"}, "question-answer", [(U, "a"), (A, "b")]),
        ({"problem": "a", "solution": "b"}, "problem-solution", [(U, "a"), (A, "b")]),
        ({"input": "a", "output": "b"}, "input-output", [(U, "a"), (A, "b")]),
        ({"input": HELLO[:1], "output": HELLO[1:]}, "input-output", [(U, "hi"), (A, "ho")]),
        ({"input": HELLO[:1], "output": "ho"}, "input-output", [(U, "hi"), (A, "ho")]),
        (
            {"query": "a", "answers": '[{"name": "f", "arguments": {"x": 1}}]', "tools": '[{"name": "f"}]'},
            "xlam",
            [(TOOLS, '[{"name": "f"}]'), (U, "a"), (A, '[{"name": "f", "arguments": {"x": 1}}]')],
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "x.png"}},
                            {"type": "text", "text": None, "value": "what?"},
                        ],
                    },
                    HELLO[1],
                ]
            },
            "openai",
            [(U, "<image>\nwhat?"), (A, "ho")],
        ),
        (
            {
                "messages": [
                    HELLO[0],
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "r"}]},
                    HELLO[1],
                ]
            },
            "openai",
            [(U, "hi"), (A, '[{"id": "1", "name": "f", "arguments": {"x": 1}}]'), (T, "r"), (A, "ho")],
        ),
    ],
)
def test_messages_of_each_format_is_recognised(record, name, expected):
    found, messages = messages_of(record)
    assert found == name
    assert [(message["role"], said(message)) for message in messages] == expected


def test_messages_of_named_columns_override_recognition():
    record = {"messages": HELLO, "q": "a", "more": "b", "answer": "c", "sys": "s", "system": "not this"}
    columns = {"instruction": "q", "input": "more", "response": "answer", "system": "sys"}
    assert messages_of(record, columns) == (
        "columns",
        [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "a\nb"},
            {"role": "assistant", "content": "c"},
        ],
    )


@pytest.mark.parametrize(
    ("record", "kind", "says"),
    [
        ({"q": "a", "a": "b"}, "missing_field", "(q, a); to read them: --columns instruction=q,response=a"),
        ({}, "missing_field", "fields found (none)"),
        ({"q": 1}, "missing_field", "name those of yours, as --columns instruction=FIELD,response=FIELD or --columns"),
        ({str(n): n for n in range(100)}, "missing_field", "and 80 more"),
        ({"instruction": "a", "output": None}, "wrong_type", "output is null, expected a string"),
        ({"instruction": ["a"], "output": "b"}, "wrong_type", "instruction is an array, expected a string"),
        ({"instruction": "a", "output": True}, "wrong_type", "output is a boolean"),
        ({"question": "a", "choices": ["b", "c"], "answer": 1}, "wrong_type", "answer is a number, which counts the"),
        ({"instruction": " ", "output": "\n"}, "empty_record", "the conversation has no text at all"),
        ({"messages": []}, "empty_record", "no text at all"),
        ({"messages": HELLO[1:]}, "missing_field", "the conversation has no user message"),
        ({"messages": "hi"}, "wrong_type", "messages is a string, expected an array of messages"),
        ({"messages": ["hi", 1]}, "wrong_type", "messages[0] is a string, expected an object"),
        ({"messages": {"role": ["user"], "content": []}}, "wrong_type", "messages is an object, expected an array"),
        ({"messages": [{"content": "a"}]}, "missing_field", "messages[0] has neither 'role' nor 'from'; found: conte"),
        ({"messages": [{"role": "user"}]}, "missing_field", "messages[0] has neither 'content' nor 'value'; found: r"),
        ({"messages": [{"role": "user", "content": None}]}, "empty_record", "no text at all"),
        ({"messages": [{"role": "narrator", "content": ""}]}, "wrong_type", "messages[0].role is 'narrator'; rename"),
        ({"messages": "[{role: user}]"}, "wrong_type", "neither JSON nor Python; write it with json.dumps"),
        ({"Question": "a", "CoT": "b", "Response": "c"}, "missing_field", "--columns instruction=Question,response="),
        ({"问题": "a b", "答案": "c"}, "missing_field", "to read them: --columns 'instruction=问题,response=答案'"),
        ({"body": {"turns": HELLO}}, "missing_field", "to read them: --columns messages=body.turns"),
        ({"prompt": HELLO[:1], "answer": "2"}, "missing_field", "instruction=FIELD"),  # a question alone
        ({"text": "Once upon a time"}, "missing_field", "(text): a text alone, as for pretraining"),
        ({"text": "<|im_start|>narrator\nx<|im_end|>"}, "wrong_type", "the text marks a message of 'narrator'"),
        ({"instruction": ["a", "b"], "output": ["c", "d"]}, "wrong_type", "a table and not a record"),
        ({"instruction": {"0": "a"}, "output": {"0": "c"}}, "wrong_type", "with pandas df.to_json(path, orient='recor"),
        ({"x1": {"q": "a", "a": "b"}, "x2": {"q": "c", "a": "d"}}, "wrong_type", "a table and not a record"),
        ({"x1": {"n": "a"}, "x2": {"n": "c"}}, "missing_field", "fields found (x1, x2); name those of yours"),
        ({"columns": ["q", "r"], "data": [["a", "b"]]}, "wrong_type", "a table and not a record"),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "wrong_type",
            "messages[0].content[0] is of type 'smell'; the types that can be read are audio,",
        ),
        ({"query": "a", "response": "b", "history": [["x"]]}, "wrong_type", "history[0] is an array, expected a pair"),
        ({"prompt": ["hi"], "completion": "b"}, "wrong_type", "prompt is an array, expected a string"),
        ({"instruction": "a", "output": "b", "system": True}, "wrong_type", "system is a boolean"),
    ],
)  # fmt: skip
@pytest.mark.fault(
    "fields are missing or of another kind",
    how="records of no known format",
    holds="quarantined with the fields that were found",
)
def test_messages_of_unusable_record_says_what_was_found(record, kind, says):
    with pytest.raises(RecordFault) as raised:
        messages_of(record)
    assert raised.value.kind == kind
    assert says in raised.value.message


@pytest.mark.fault(
    "fields are missing or of another kind",
    how="a column that a record lacks",
    holds="the error names it",
)
def test_messages_of_absent_column_is_named():
    with pytest.raises(RecordFault, match="no field 'r' for the response; found: q"):
        messages_of({"q": "a"}, {"instruction": "q", "response": "r"})


@pytest.mark.parametrize("columns", [{"question": "q"}, {"instruction": "q"}])
def test_settings_columns_that_make_no_sample_are_refused(columns):
    with pytest.raises(ValidationError, match=r"the roles are instruction|but not response"):
        IngestSettings(columns=columns)


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "<think>\n先想\n</think>\n\n42"},
        {"content": "42", "reasoning_content": "先想"},
        {"content": "42", "reasoning": "先想"},
        {"content": "42", "thinking": "先想"},
        {"content": "42", "info": {"think_content": "先想"}},
        {"content": "<think>先想</think>42", "reasoning_content": "先想"},
        {"content": [{"type": "thinking", "thinking": "先想"}, {"type": "text", "text": "42"}]},
        {"content": '[{"type": "reasoning", "text": "先想"}, {"type": "text", "text": "42"}]'},
    ],
    ids=json.dumps,
)
def test_what_the_assistant_thinks_is_kept_apart_from_its_answer(answer):
    _, messages = messages_of({"messages": [HELLO[0], {"role": "assistant", **answer}]})
    assert messages[1] == {"role": "assistant", "content": "42", "reasoning": "先想"}


def test_columns_may_be_paths_and_name_a_whole_conversation():
    record = {"data": {"talk": HELLO, "q": "a", "r": "b"}, "data.r": "c"}
    assert messages_of(record, {"messages": "data.talk"})[1] == HELLO
    assert [each["content"] for each in messages_of(record, {"instruction": "data.q", "response": "data.r"})[1]] == [
        "a",
        "c",
    ]
    with pytest.raises(ValidationError, match="messages and response; a record has one or the other"):
        IngestSettings(columns={"messages": "m", "response": "r"})


def test_media_stay_in_the_record_and_are_counted_by_kind():
    parts = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "what?"}, {"type": "audio"}]
    one = {"messages": [{"role": "user", "content": parts}, HELLO[1]]}
    other = {"messages": HELLO, "images": ["a.png", "b.png"], "videos": None}
    bare = {"messages": [{"role": "user", "content": [{"image": "x"}, {"text": "what?", "video": "y"}]}, HELLO[1]]}
    found = [samples_of(json.dumps(record).encode(), IngestSettings())[0] for record in (one, other, bare)]
    assert [each.media for each in found] == [{"image": 1, "audio": 1}, {"image": 2}, {"image": 1, "video": 1}]
    assert found[2].messages[0]["content"] == "<image>\n<video>\nwhat?"
    assert found[0].messages[0]["content"] == "<image>\nwhat?\n<audio>"
