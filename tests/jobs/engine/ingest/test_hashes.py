"""What makes two records the same: `pytest tests/jobs/engine/ingest/test_hashes.py`."""

import json

import pytest

from jobs.engine.ingest import IngestSettings
from jobs.engine.ingest.records.records import samples_of

PLAIN = {"instruction": "Name a river.", "output": "The Danube."}
CHAT = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]


def hashes(record, settings=IngestSettings()):  # noqa: B008 - a constant
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return samples_of(raw, settings)[0].hashes


def chat(*, said=CHAT, **fields):
    return {"messages": said, **fields}


def answered(**fields):
    return chat(said=[CHAT[0], {**CHAT[1], **fields}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (answered(reasoning_content="one and one"), answered(reasoning_content="I know it")),
        (answered(thinking="hm"), answered()),
        ({**PLAIN, "reasoning_content": "a"}, {**PLAIN, "reasoning_content": "b"}),
        (chat(label="A"), chat(label="B")),
        ({"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "b"}),
        (b'{"instruction": "a", "output": "b", "n": NaN}', b'{"instruction": "a", "output": "b", "n": Infinity}'),
        (chat(rejected=[{"from": "gpt", "value": "3"}]), chat(rejected=[{"from": "gpt", "value": "4"}])),
        (chat(images=["a.png"]), chat(images=["b.png"])),
        ({**PLAIN, "image": {"path": "a.png"}}, {**PLAIN, "image": {"path": "b.png"}}),
        ({**PLAIN, "url": "http://a/1.png"}, {**PLAIN, "url": "http://a/2.png"}),
        ({**PLAIN, "image_id": 1}, {**PLAIN, "image_id": 2}),
        (answered(weight=0), answered(weight=1)),
        (chat(chat_template_kwargs={"enable_thinking": True}), chat(chat_template_kwargs={"enable_thinking": False})),
        ({**PLAIN, "category": "geography"}, {**PLAIN, "category": "rivers"}),
        ({**PLAIN, "score": True}, {**PLAIN, "score": 1}),
        ({**PLAIN, "score": 10**30}, {**PLAIN, "score": 10**30 + 1}),
        ({**PLAIN, "tags": ["a", "b"]}, {**PLAIN, "tags": ["b", "a"]}),
        ({**PLAIN, "words": ["a", None]}, {**PLAIN, "words": ["a"]}),
        (b'{"instruction": "a", "output": "b", "n": 1e999}', b'{"instruction": "a", "output": "b", "n": 2e999}'),
        ({"instruction": "Sort:\n3, 1", "output": "1, 3"}, {"instruction": "Sort:", "input": "3, 1", "output": "1, 3"}),
        # a call, and words that look like it
        (
            chat(said=[CHAT[0], {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]),
            chat(said=[CHAT[0], {"role": "assistant", "content": '[{"name": "f"}]'}]),
        ),
        # a call, and what it gave back
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{}"},
                               {"from": "gpt", "value": "a"}]},
            {"conversations": [{"from": "human", "value": "q"}, {"from": "observation", "value": "{}"},
                               {"from": "gpt", "value": "a"}]},
        ),
        # whose answer a tool's message is
        (
            chat(said=[CHAT[0], {"role": "tool", "content": "2", "name": "f"}, CHAT[1]]),
            chat(said=[CHAT[0], {"role": "tool", "content": "2", "name": "g"}, CHAT[1]]),
        ),
        # the same field, of another message
        (
            chat(said=[{**CHAT[0], "weight": 1}, CHAT[1]]),
            chat(said=[CHAT[0], {**CHAT[1], "weight": 1}]),
        ),
        # one text, and two
        (
            chat(said=[{"role": "user", "content": "a\nb"}, CHAT[1]]),
            chat(said=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                       CHAT[1]]),
        ),
        (
            {"prompt": CHAT[:1], "completion": [{**CHAT[1], "thinking": "x"}]},
            {"prompt": CHAT[:1], "completion": CHAT[1:]},
        ),
    ],
)  # fmt: skip
def test_records_that_differ_in_what_is_trained_on_are_different_samples(one, other):
    first, second = hashes(one), hashes(other)
    assert first.kind != second.kind
    assert first.record != second.record


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({**PLAIN, "id": 1, "source": "a", "created_at": "2024"}, {**PLAIN, "ID": "x", "Source": None}),
        ({**PLAIN, "__index_level_0__": 3, "Unnamed: 0": 3}, PLAIN),
        (answered(id="m1", timestamp=3.5), answered(id="m2")),
        ({**PLAIN, "input": "", "history": [], "system": None}, PLAIN),
        ({"instruction": "1+1?", "output": "2"}, chat()),
        (chat(), {"conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]}),
        (chat(tools=[]), chat()),
        (b'{"output": "b", "instruction": "a", "n": {"y": 1.0, "x": 1e2}}',
         b'{"n":{"x":100,"y":1,"z":null},"instruction":"\\u0061","output":"b"}'),
        (answered(name=None, tool_calls=None), chat()),
        (chat(said=[{"role": "user", "content": [{"type": "text", "text": "1+1?"}]}, CHAT[1]]), chat()),
    ],
)  # fmt: skip
def test_records_that_differ_in_bookkeeping_or_spelling_alone_are_duplicates(one, other):
    assert hashes(one).kind == hashes(other).kind
    assert hashes(one).text == hashes(other).text


def test_the_record_s_hash_tells_bookkeeping_too_and_the_text_s_tells_what_is_said():
    tagged = [hashes({**PLAIN, "id": number, "category": "c"}) for number in (1, 2)]
    assert tagged[0].kind == tagged[1].kind
    assert tagged[0].record != tagged[1].record
    assert {each.text for each in tagged} == {hashes(PLAIN).text}
    assert len({hashes(PLAIN).text, hashes(PLAIN).record, hashes(PLAIN).kind}) == 1
    apart = {"instruction": "Sort:", "input": "3, 1", "output": "1, 3"}
    assert hashes(apart).text != hashes({"instruction": "Sort:\n3, 1", "output": "1, 3"}).text


def test_ignored_fields_make_no_difference_and_named_columns_are_what_is_said():
    settings = IngestSettings(ignore=("Category",))
    one, other = ({**PLAIN, "category": each, "score": 1} for each in "ab")
    assert hashes(one, settings).kind == hashes(other, settings).kind != hashes(PLAIN, settings).kind
    assert hashes(one).kind != hashes(other).kind
    columns = IngestSettings(columns={"instruction": "q", "response": "a", "system": "s"})
    record = {"q": "Name a river.", "a": "The Danube."}
    assert hashes(record, columns).kind == hashes(PLAIN).kind
    assert hashes({**record, "history": [["x", "y"]]}, columns).kind != hashes(PLAIN).kind
    assert hashes({**record, "system": "S"}, columns).kind != hashes(PLAIN).kind
    assert hashes({**record, "s": "S"}, columns).kind == hashes({**PLAIN, "system": "S"}).kind
