"""The same conversation in every format that can hold it: `pytest tests/jobs/engine/ingest/test_message_model.py`."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine.ingest import IngestSettings
from jobs.engine.ingest.records.records import samples_of

WORDS = st.text(st.sampled_from('ab 中文é🙂\n"\\<>[{'), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text
)
CALLS = st.lists(
    st.fixed_dictionaries({"name": WORDS, "arguments": st.dictionaries(WORDS, st.integers() | WORDS, max_size=2)}),
    min_size=1,
    max_size=2,
)
TURNS = st.lists(st.tuples(WORDS, WORDS, st.none() | WORDS, st.none() | CALLS), min_size=1, max_size=3)


def sample(record):
    (found,) = samples_of(json.dumps(record, ensure_ascii=False).encode(), IngestSettings())
    return found


def openai(turns, system):
    messages = [{"role": "developer", "content": system}] if system else []
    for asked, answered, thought, calls in turns:
        messages.append({"role": "user", "content": asked})
        answer = {"role": "assistant", "content": answered, "reasoning_content": thought}
        if calls:
            functions = [{**call, "arguments": json.dumps(call["arguments"])} for call in calls]
            answer["tool_calls"] = [{"type": "function", "function": each} for each in functions]
        messages.append(answer)
    return {"messages": messages}


def parts(turns, system):
    messages = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
    for asked, answered, thought, calls in turns:
        answer = [{"type": "thinking", "thinking": thought}] if thought else []
        answer.append({"type": "text", "value": answered})
        answer += [{"type": "tool_use", "name": each["name"], "input": each["arguments"]} for each in calls or []]
        messages += [
            {"role": "user", "content": [{"type": "text", "text": asked}]},
            {"role": "assistant", "content": answer},
        ]
    return {"messages": json.dumps(messages)}


def sharegpt(turns, system):
    items = []
    for asked, answered, thought, calls in turns:
        items.append({"from": "human", "value": asked, "role": None})
        value = f"<think>\n{thought}\n</think>\n\n{answered}" if thought else answered
        items.append({"from": "gpt", "value": value, "tool_calls": json.dumps(calls) if calls else None})
    return {"conversations": items, "system": system}


def columns(turns, system):
    plain = openai(turns, system)["messages"]
    names = ("role", "content", "reasoning_content", "tool_calls")
    return {"messages": {name: [each.get(name) for each in plain] for name in names}}


def alpaca(turns, system):
    *before, (asked, answered, thought, _) = turns
    history = [[each[0], each[1]] for each in before]
    return {"instruction": asked, "output": answered, "thinking": thought, "history": history, "system": system}


def question(turns, system):
    return {"system_prompt": system, "question": turns[0][0], "response": turns[0][1]}


def plain_list(turns, system):
    return [text for asked, answered, _, _ in turns for text in (asked, answered)]


def pairs(turns, system):
    return {"conversation": [{"assistant": answered, "human": asked} for asked, answered, _, _ in turns]}


def fitting(turns, system):
    """The record of the conversation in each format that can hold it."""
    made = [openai, parts, sharegpt, columns]
    if not any(calls for *_, calls in turns) and not any(thought for _, _, thought, _ in turns[:-1]):
        made.append(alpaca)
    if not any(thought or calls for *_, thought, calls in turns):
        made += [] if system else [plain_list, pairs]
        made += [question] if len(turns) == 1 else []
    return [write(turns, system) for write in made]


@settings(max_examples=60, deadline=None)
@given(TURNS, st.none() | WORDS)
def test_a_conversation_is_the_same_sample_in_every_format_that_can_hold_it(turns, system):
    first, *others = [sample(record) for record in fitting(turns, system)]
    for other in others:
        assert other.messages == first.messages
        assert other.hashes.text == first.hashes.text
        assert other.hashes.kind == first.hashes.kind


@settings(max_examples=60, deadline=None)
@given(TURNS, TURNS, st.none() | WORDS, st.none() | WORDS)
def test_conversations_that_differ_have_different_hashes(turns, other, system, instead):
    same = (turns, system) == (other, instead)
    for one, two in zip(fitting(turns, system)[:4], fitting(other, instead)[:4], strict=True):
        assert (sample(one).hashes.text == sample(two).hashes.text) == same
        assert (sample(one).hashes.kind == sample(two).hashes.kind) == same


def answered(turns, system, answer):
    """The messages of OpenAI, and those of the last answer with this text alone."""
    messages = openai(turns, system)["messages"]
    return messages[:-1], [{**messages[-1], "content": answer}]


def fitting_pairs(turns, system, rejected):
    """The record of a pair, whose rejected answer has another text, in each format that can hold it."""
    asked, chosen = answered(turns, system, turns[-1][1])
    _, other = answered(turns, system, rejected)
    made = [
        {"prompt": asked, "chosen": chosen, "rejected": other},
        {"chosen": json.dumps([*asked, *chosen]), "rejected": [*asked, *other]},
        {"conversations": asked, "chosen": chosen[0], "rejected": other[0]},
        {"messages": [*asked, *chosen], "rejected_response": other},
        {"messages": [*asked, *chosen], "rejected_messages": [*asked, *other]},
        {"input": {"messages": asked}, "preferred_output": chosen, "non_preferred_output": other},
    ]
    if len(turns) == 1 and not turns[0][2] and not turns[0][3]:
        texts = {"chosen": turns[0][1], "rejected": rejected}
        made += [{name: turns[0][0], "system": system, **texts} for name in ("prompt", "question", "instruction")]
        made.append({"instruction": turns[0][0], "system": system, "output": [*texts.values()]})
    return made


@settings(max_examples=60, deadline=None)
@given(TURNS, st.none() | WORDS, WORDS, WORDS)
def test_a_pair_is_the_same_sample_in_every_format_and_another_with_another_rejected_answer(turns, system, one, two):
    first, *others = [sample(record) for record in fitting_pairs(turns, system, one)]
    plain = sample(openai(turns, system))
    assert first.messages == plain.messages
    assert first.rejected == [{**plain.messages[-1], "content": one}]
    assert first.hashes.text == plain.hashes.text
    assert first.hashes.record != plain.hashes.record
    for other in others:
        assert (other.messages, other.rejected, other.hashes) == (first.messages, first.rejected, first.hashes)
    for record in fitting_pairs(turns, system, two):
        assert (sample(record).hashes.kind == first.hashes.kind) == (one == two)


@settings(max_examples=40, deadline=None)
@given(TURNS, st.none() | WORDS, st.sampled_from([{"label": True}, {"label": "true"}, {"kto_tag": 1}]))
def test_a_label_is_the_same_in_every_format_and_tells_a_sample_from_one_without(turns, system, label):
    plain = [record for record in fitting(turns, system) if isinstance(record, dict) and "question" not in record]
    found = [sample({**record, **label}) for record in plain if "kto_tag" in label or "instruction" not in record]
    assert {each.label for each in found} == {True}
    assert len({each.hashes.record for each in found}) == 1
    assert found[0].hashes.text == sample(plain[0]).hashes.text
    assert found[0].hashes.kind != sample(plain[0]).hashes.kind
