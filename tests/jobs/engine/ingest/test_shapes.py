"""Shapes of records that circulate, and what they are read as: `pytest tests/jobs/engine/ingest/test_shapes.py`."""

import contextlib
import copy
import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.engine.ingest import IngestSettings, RecordFault
from jobs.engine.ingest.records.records import samples_of
from jobs.engine.ingest.records.written import written
from jobs.engine.terminal.arguments import columns_given

Q, A, S = (
    {"role": "user", "content": "问 q"},
    {"role": "assistant", "content": "答 a"},
    {"role": "system", "content": "s"},
)
WRONG = {"role": "assistant", "content": "b"}


def sample(record, **settings):
    (found,) = samples_of(json.dumps(record, ensure_ascii=False).encode(), IngestSettings(**settings))
    return found


def chat(*messages):
    return {"messages": list(messages)}


PLAIN = [
    {"inputs": "问 q", "targets": "答 a"},
    {"kind": "x", "input": "问 q", "target": "答 a"},
    {"conversation": [{"input": "问 q", "output": "答 a"}]},
    {"conversation": [{"system": "", "input": "问 q", "output": "答 a", "output_with_loss": True}]},
    {"conversation": [{"speaker": "user", "text": "问 q"}, {"sender": "assistant", "text": "答 a"}]},
    {"contents": [{"role": "user", "parts": [{"text": "问 q"}]}, {"role": "model", "parts": [{"text": "答 a"}]}]},
    chat({"role": "用户", "content": "问 q"}, {"role": "助手", "content": "答 a"}),
    chat(Q, None, A),  # Arrow fills up with nulls
    chat({"role": "system", "content": None}, Q, A),
    chat({"role": "user", "content": {"text": "问 q"}}, {"role": "assistant", "content": {"parts": ["答 a"]}}),
    {"messages": repr([Q, A])},  # what pandas writes in csv files
    {"instruction": "问 q", "response": "答 a", "conversations": [{"from": "human", "value": "问 q"}, A]},
    {"text": "<|im_start|>user\n问 q<|im_end|>\n<|im_start|>assistant\n答 a<|im_end|>\n"},
    {"text": "<s>[INST] 问 q [/INST] 答 a </s>"},
    {"text": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n问 q<|eot_id|>"
             "<|start_header_id|>assistant<|end_header_id|>\n\n答 a<|eot_id|>"},
    {"text": "<bos><start_of_turn>user\n问 q<end_of_turn>\n<start_of_turn>model\n答 a<end_of_turn>\n"},
    {"text": "<|user|>\n问 q</s>\n<|assistant|>\n答 a</s>\n"},
    {"text": "### Human: 问 q### Assistant: 答 a"},
    {"text": "USER: 问 q ASSISTANT: 答 a</s>"},
    {"text": "Human: 问 q\n\nAssistant: 答 a"},
    {"text": "User:问 q\nAssistant:答 a"},
    {"text": "Instruct: 问 q\nOutput: 答 a"},
    {"text": "<|im_start|>user<|im_sep|>问 q<|im_end|><|im_start|>assistant<|im_sep|>答 a<|im_end|>"},
    {"text": "<|user|>\n问 q<|end|>\n<|assistant|>\n答 a<|end|>\n<|endoftext|>"},
    {"text": "<｜begin▁of▁sentence｜><｜User｜>问 q<｜Assistant｜>答 a<｜end▁of▁sentence｜>"},
    {"prompt": "\n\nHuman: 问 q\n\nAssistant:", "completion": " 答 a"},
    {"prompt": "<|im_start|>user\n问 q<|im_end|>\n<|im_start|>assistant\n", "completion": "答 a<|im_end|>"},
    {"instruction": "### Instruction:\n问 q\n\n### Response:", "input": "", "output": "答 a"},
    {"text": "Below is an instruction that describes a task. Write.\n\n### Instruction:\n问 q\n\n### Response:\n答 a"},
]  # fmt: skip


@pytest.mark.parametrize("record", PLAIN, ids=json.dumps)
def test_a_question_and_its_answer_are_the_same_sample_in_every_shape(record):
    assert sample(record).messages == [Q, A]
    assert sample(record).hashes.text == sample(chat(Q, A)).hashes.text


@pytest.mark.parametrize(
    ("record", "messages"),
    [
        ({"text": "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\n问 q [/INST] 答 a </s><s>[INST] 问 q [/INST] b </s>"},
         [S, Q, A, Q, WRONG]),
        ({"text": "### Instruction:\n问\n\n### Input:\nq\n\n### Response:\n答 a"}, [{**Q, "content": "问\nq"}, A]),
        ({"text": "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n问 q<|im_end|>\n"
                  "<|im_start|>assistant\n<think>\nt\n</think>\n\n答 a<|im_end|>"}, [S, Q, {**A, "reasoning": "t"}]),
        ({"system": [{"type": "text", "text": "s"}], **chat(Q, A)}, [S, Q, A]),
        ({"systemInstruction": {"parts": [{"text": "s"}]}, "contents": [Q, A]}, [S, Q, A]),
        (chat(Q, {"role": "assistant", "content": None}, Q, A), [Q, {**A, "content": ""}, Q, A]),
        (chat(Q, {"role": "reasoning", "content": "t"}, A), [Q, {**A, "reasoning": "t"}]),
        (chat(Q, {"from": "thinking", "value": "t"}, {**A, "reasoning": "u"}), [Q, {**A, "reasoning": "t\nu"}]),
        (chat(Q, {"role": "assistant", "channel": "analysis", "content": "t"}, {**A, "channel": "final"}),
         [Q, {**A, "reasoning": "t"}]),
        (chat(Q, {"role": "tool", "content": {"温度": 1}}, {"role": "tool", "content": [{"x": 1}]}, A),
         [Q, {"role": "tool", "content": '{"温度": 1}'}, {"role": "tool", "content": '[{"x": 1}]'}, A]),
        (chat({"role": "user", "content": [{"image": "a.png"}, {"text": "问"}]}, A),
         [{**Q, "content": "<image>\n问"}, A]),
        ({"instruction": "1+1?", "input": 3, "output": 2.5},
         [{**Q, "content": "1+1?\n3"}, {**A, "content": "2.5"}]),
        ({"conversation": [{"prompt": "问 q", "response": "答 a", "n": 1}, {"query": "问 q", "response": "b"}]},
         [Q, A, Q, WRONG]),
        ({"conversation": [{"instruction": "问", "input": "q", "output": "答 a"}]}, [{**Q, "content": "问\nq"}, A]),
        ({"query": "问 q", "response": "b", "history": [{"query": "问 q", "response": "答 a"}]}, [Q, A, Q, WRONG]),
        ({"query": "问 q", "response": "b", "history": ["问 q", "答 a"]}, [Q, A, Q, WRONG]),
        ({"query": "问 q", "response": "b", "history": "[('问 q', '答 a')]"}, [Q, A, Q, WRONG]),
        ({"question": "问 q", "answer": "t\n</think>\n\n答 a"}, [Q, {**A, "reasoning": "t"}]),
        (chat(Q, {"role": "assistant", "content": 42}), [Q, {**A, "content": "42"}]),
        ({"conversation": [{"system": "s", "input": "问 q", "output": "答 a"}, {"input": "问 q", "output": "b"}]},
         [S, Q, A, Q, WRONG]),
        ({"conversations": [{"user": "问 q", "assistant": "答 a", "source": "x"}]}, [Q, A]),
        (chat(Q, {**A, "content": "<|begin_of_thought|>\n\nt\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n答 a\n\n"
                  "<|end_of_solution|>"}), [Q, {**A, "reasoning": "t"}]),
        ({"input": [Q], "output": "<think>t</think>答 a", "reasoning": "on"}, [Q, {**A, "reasoning": "t"}]),
        ({"system_prompt": "s", "conversations": [S, Q, A]}, [S, Q, A]),
        ({**chat(Q, A), "chat_template_kwargs": {"custom_instructions": "s", "xml_tools": ['{"name": "f"}']}},
         [{"role": "tools", "content": '[{"name": "f"}]'}, S, Q, A]),
        ({"question": "问 q", "solution": "答 a", "answer": "a"}, [Q, A]),
        ({"text": "A chat between a curious user and an artificial intelligence assistant. It helps. USER: 问 q "
                  "ASSISTANT: 答 a</s>USER: 问 q ASSISTANT: b</s>"},
         [{**S, "content": "A chat between a curious user and an artificial intelligence assistant. It helps."},
          Q, A, Q, WRONG]),
        ({"text": "Human: 问 q\n\nAssistant: 答 a\n\nHuman: 问 q\n\nAssistant: As in\nHuman: x\nAssistant: y"},
         [Q, A, Q, {**WRONG, "content": "As in\nHuman: x\nAssistant: y"}]),
        ({"system": "s", "chat": "USER: 问 q\n\n\nASSISTANT: 答 a <|endoftext|>\n\n\nFUNCTION RESPONSE: {}\n\n\n"
                                "ASSISTANT: b <|endoftext|>\n\n\n"},
         [S, Q, A, {"role": "tool", "content": "{}"}, WRONG]),
        ({"system_message": "s", "conversations": [Q, A]}, [S, Q, A]),
        ({"prompt": "Human: 问 q\n\nAssistant: 答 a\n\nHuman: 问 q\n\nAssistant:", "chosen": "b", "rejected": "c"},
         [Q, A, Q, WRONG]),
        ({"instruction": "Human:问 q\nAssistant:答 a\nHuman:问 q\nAssistant:", "input": "", "output": "b"},
         [Q, A, Q, WRONG]),
    ],
)  # fmt: skip
def test_what_a_shape_says_besides_is_read_too(record, messages):
    assert sample(record).messages == messages


def test_the_nulls_with_which_arrow_fills_up_tools_and_arguments_are_no_fields():
    def called(arguments, properties):
        calls = [{"type": "function", "function": {"name": "f", "arguments": arguments}}]
        tools = [{"name": "f", "parameters": {"properties": properties}}]
        return {**chat(Q, {"role": "assistant", "content": "", "tool_calls": calls}), "tools": tools}

    plain = called({"x": 0, "in": {"y": False}}, {"x": {"type": "number"}})
    padded = called({"x": 0, "city": None, "in": {"y": False, "z": None}}, {"x": {"type": "number"}, "city": None})
    assert sample(padded).messages == sample(plain).messages
    assert sample(padded).hashes == sample(plain).hashes
    said = called('{"x": 0, "city": null}', {"x": {"type": "number"}})
    assert json.loads(sample(said).messages[2].get("tool_calls") or "")[0]["arguments"] == {"x": 0, "city": None}


def test_thoughts_without_an_answer_are_no_answer_and_magpie_is_named():
    with pytest.raises(RecordFault, match="only thinks"):
        sample(chat(Q, {"role": "reasoning", "content": "t"}))
    both = [{"from": "human", "value": "问 q"}, A, Q, WRONG]
    magpie = {"instruction": "问 q", "response": "答 a", "conversations": both, "model": "m"}
    assert (sample(magpie).format, sample(magpie).messages) == ("magpie", [Q, A, Q, WRONG])
    assert sample(magpie).hashes == sample({"conversations": both, "model": "m"}).hashes
    assert sample({**magpie, "response": "other"}).hashes.kind != sample(magpie).hashes.kind


PAIRS = [
    {"prompt": "问 q", "chosen": "答 a", "rejected": "b"},
    {"prompt": [Q], "chosen": [A], "rejected": [WRONG]},
    {"chosen": [Q, A], "rejected": [Q, WRONG]},
    {"chosen": "\n\nHuman: 问 q\n\nAssistant: 答 a", "rejected": "\n\nHuman: 问 q\n\nAssistant: b"},
    {"chosen": "Human: 问 q\n\nAssistant: 答 a", "rejected": "Human: 问 q\n\nAssistant: b"},
    {"conversations": [{"from": "human", "value": "问 q"}], "chosen": {"from": "gpt", "value": "答 a"},
     "rejected": {"from": "gpt", "value": "b"}},
    {"messages": [Q, A], "rejected_response": "b"},
    {"messages": [Q, A], "rejected_messages": [Q, WRONG]},
    {"instruction": "问 q", "input": "", "chosen": "答 a", "rejected": "b"},
    {"instruction": "问 q", "output": ["答 a", "b"]},
    {"question": "问 q", "accepted": "答 a", "rejected": "b"},
    {"instruction": "问 q", "chosen_response": "答 a", "rejected_response": "b"},
    {"question": "问 q", "chosen": ["答 a"], "rejected": ["b"]},
    {"input": {"messages": [Q]}, "preferred_output": [A], "non_preferred_output": [WRONG]},
]  # fmt: skip


@pytest.mark.parametrize("record", PAIRS, ids=json.dumps)
def test_a_pair_is_the_same_sample_with_the_same_rejected_answer_in_every_shape(record):
    found, first = sample(record), sample(PAIRS[0])
    assert (found.messages, found.rejected, found.label) == ([Q, A], [WRONG], None)
    assert found.hashes == first.hashes
    assert found.hashes.text == sample(chat(Q, A)).hashes.text
    assert found.hashes.record != sample(chat(Q, A)).hashes.record
    both = samples_of(json.dumps(record).encode(), IngestSettings(pairs="both"))
    assert [each.messages for each in both] == [[Q, A], [Q, WRONG]]
    assert both[1].rejected is None
    other = json.loads(written(json.dumps(record).encode(), "new", "", "answer"))
    assert [each["content"] for each in sample(other).messages] == ["new", "answer"]


def test_pairs_that_differ_in_the_rejected_answer_alone_are_different_samples():
    one, other = ({"prompt": "问 q", "chosen": "答 a", "rejected": each} for each in ("b", "c"))
    assert sample(one).hashes.text == sample(other).hashes.text
    assert len({sample(each).hashes.kind for each in (one, other, {**one, "prompt": "q"})}) == 3
    longer = {"chosen": [Q, A, Q, A], "rejected": [Q, WRONG, Q, A]}
    assert sample(longer).rejected == [WRONG, Q, A]
    assert sample({"chosen": [Q, A], "rejected": [{**Q, "content": "x"}, A]}).rejected == [{**Q, "content": "x"}, A]


def test_several_rejected_answers_are_a_sample_each_and_none_costs_the_chosen_one():
    several = {"prompt": "问 q", "chosen": "答 a", "rejected": ["b", "c"]}
    assert sample(several).rejected == [WRONG]
    assert sample(several).hashes.kind != sample({**several, "rejected": ["b", "d"]}).hashes.kind
    both = samples_of(json.dumps(several).encode(), IngestSettings(pairs="both"))
    assert [each.messages[1]["content"] for each in both] == ["答 a", "b", "c"]
    for rejected in (None, "", []):
        record = {**several, "rejected": rejected}
        (found,) = samples_of(json.dumps(record).encode(), IngestSettings(pairs="both"))
        assert (found.messages, found.rejected) == ([Q, A], None)
    assert sample({**several, "rejected": {"odd": 1}}).rejected is None


@pytest.mark.parametrize(
    ("record", "label"),
    [
        ({"prompt": "问 q", "completion": "答 a", "label": True}, True),
        ({"prompt": "问 q", "completion": "答 a", "label": "True"}, True),
        ({"messages": [Q, A], "label": "chosen"}, True),
        ({"instruction": "问 q", "output": "答 a", "kto_tag": True}, True),
        ({"messages": [Q, A], "kto_tag": 1}, True),
        ({"prompt": "问 q", "completion": "答 a", "label": "False"}, False),
        ({"prompt": "问 q", "completion": "答 a", "label": "undesirable"}, False),
        ({"messages": [Q, A], "kto_tag": 0}, False),
        ({"messages": [Q, A], "label": 0}, None),  # a class
        ({"messages": [Q, A], "label": "sports"}, None),
        ({"instruction": "问 q", "output": "答 a", "label": True}, None),
    ],
    ids=json.dumps,
)
def test_the_label_of_a_record_says_whether_its_answer_is_desired(record, label):
    found = sample(record, pairs="both")
    assert (found.messages, found.label, found.rejected) == ([Q, A], label, None)
    plain = {"prompt": "问 q", "completion": "答 a"}
    assert (found.hashes.record == sample({**plain, "label": label}, pairs="both").hashes.record) == (label is not None)
    assert found.hashes.record != sample(plain).hashes.record
    if label is False:
        with pytest.raises(RecordFault, match="says that the answer is not desired"):
            sample(record)


NAMES = ["role", "content", "value", "type", "text", "parts", "input", "output", "label", "tools", "system", "history"]
WORDS = ["user", "[", "[{'a': 1}]", "<think>", "### Input:\nx", "Human: x", "function_call", "reasoning", "问", ""]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    max_leaves=4,
)


def places(value, before=()):
    """The path of each value in a record."""
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield (*before, name)
            yield from places(value[name], (*before, name))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*PLAIN, *PAIRS]), st.integers(0, 99), VALUES)
@example(chat(Q, A), 2, {"type": ["text"], "text": "x"})
@example(chat(Q, A), 1, {"reasoning": "x"})
@example({"text": "x"}, 0, "### Input:\nx")
@example(chat({"input": "q", "output": "a"}), 0, [{"input": "q", "output": "a", "content": 1}])
@example({"prompt": {"role": "prompter", "text": "q", "replies": []}}, 3, 1)
def test_any_value_in_any_place_makes_samples_or_a_reason_and_no_other_error(record, number, value):
    record = copy.deepcopy(record)
    paths = list(places(record))
    *path, last = paths[number % len(paths)]
    inner = record
    for name in path:
        inner = inner[name]
    inner[last] = value
    raw = json.dumps(record).encode()
    found = []
    with contextlib.suppress(RecordFault):
        found = samples_of(raw, IngestSettings(pairs="both"))
    for each in found:
        texts = [text for message in each.messages + (each.rejected or []) for text in message.values()]
        assert all(isinstance(text, str) for text in texts)
        made = samples_of(written(each.raw or raw, "new", "", "done"), IngestSettings(answers="optional"))
        said = [message["content"] for message in made[0].messages if message["role"] in ("user", "assistant")]
        assert said == ["new", "done"]


@pytest.mark.parametrize(
    ("record", "columns", "messages"),
    [
        ({"Question": "问 q", "Complex_CoT": "t", "Response": "答 a"},
         "instruction=Question,response=Response,reasoning=Complex_CoT", [Q, {**A, "reasoning": "t"}]),
        ({"question": "问 q", "solution": "x", "thinking_trajectories": ["t"], "attempt": "答 a"},
         "instruction=question,response=attempt,reasoning=thinking_trajectories", [Q, {**A, "reasoning": "t"}]),
        ({"id": "1", "data": ["问 q", "答 a"]}, "messages=data", [Q, A]),
        ({"images": [None], "texts": [{"user": "问 q", "assistant": "答 a", "source": "x"}]}, "messages=texts", [Q, A]),
    ],
)  # fmt: skip
def test_the_advice_about_a_record_reads_all_that_it_says(record, columns, messages):
    with pytest.raises(RecordFault) as raised:
        sample(record)
    assert raised.value.message.endswith(f"to read them: --columns {columns}")
    assert sample(record, columns=columns_given(columns)).messages == messages


def test_no_advice_leaves_a_part_of_a_record_out():
    several = {"winner": "a", "conversation_a": [Q, A], "conversation_b": [Q, WRONG]}
    with pytest.raises(RecordFault, match=r"one of the conversations \(conversation_a, conversation_b\)"):
        sample(several)
    several = (
        {"instances": [{"input": "q", "output": "答 a"}]},
        {"completions": [{"model": "m", "response": "a"}]},
        {"response_0": "a", "response_1": "b"},
    )
    for answers in several:
        with pytest.raises(
            RecordFault, match=f"; {', '.join(answers)} hold several answers: write the one to train on"
        ):
            sample({"instruction": "问", **answers})
    with pytest.raises(
        RecordFault, match=r"found \(math, code\); where they hold lists of records, write each list to"
    ):
        sample({"math": [{"instruction": "问", "output": "答"}], "code": [{"q": "x", "a": "y"}, {"q": "z", "a": "y"}]})


def test_a_new_turn_has_not_the_thoughts_before_the_old_response():
    record = {"question": "问 q", "answer": "答 a", "reasoning_content": "t", "reasoning": "on"}
    made = written(json.dumps(record).encode(), "new", "", "b")
    assert json.loads(made) == {"question": "new", "answer": "b", "reasoning": "on"}
    named = {"q": "问 q", "a": "答 a", "cot": ["t"]}
    columns = {"instruction": "q", "response": "a", "reasoning": "cot"}
    assert json.loads(written(json.dumps(named).encode(), "new", "", "b", columns)) == {"q": "new", "a": "b"}


@pytest.mark.parametrize(
    "text",
    [
        "A story. USER: 问 q ASSISTANT: 答 a",  # words that no template wrote stand before it
        "USER: he said ASSISTANT: no USER: and USER: again ASSISTANT: 答",  # who says what is not certain
        "USER: 问 ASSISTANT: as in USER: x ASSISTANT: y</s>USER: 问 ASSISTANT: 答</s>",
        "Human: 问\nHuman: q\nAssistant: 答",
        "Human: 问\nAssistant: As in\nUser: x\nAssistant: y",
        "User: root\nPassword: x",
        "Assistant: 答 a",
    ],
)
def test_a_text_whose_speakers_are_not_certain_is_refused_with_the_templates(text):
    with pytest.raises(RecordFault, match=r"a text alone.*those that are read are ChatML, Llama 2 and 3.*Vicuna"):
        sample({"text": text})
    asked = {"prompt": f"{text}\nAssistant:", "completion": "b"}
    if not text.startswith(("Assistant", "User: ")):
        assert sample(asked).messages == [{**Q, "content": asked["prompt"]}, WRONG]


@pytest.mark.parametrize(
    "record",
    [
        {"text": "a" + "\n" * 20_000 + "b"},
        {"text": "Human: a" + "\n" * 20_000 + "b"},
        {"text": "A chat between a curious user" + " " * 20_000 + "b USER: a ASSISTANT: b"},
        {"text": "[INST] <<SYS>>" + " \n" * 2000 + "b"},
        {
            "instruction": "a",
            "output": "<|begin_of_thought|>t<|end_of_thought|><|begin_of_solution|>a" + " " * 3000 + "b",
        },
    ],
    ids=["text", "words", "vicuna", "system", "solution"],
)
def test_a_run_of_white_space_takes_no_time(record):
    began = time.process_time()
    with contextlib.suppress(RecordFault):
        sample(record)
    assert time.process_time() - began < 1


def test_an_empty_input_in_an_alpaca_text_ends_at_the_next_mark():
    text = "### Instruction:\n问 q\n### Input:\n### Response:\n答 a"
    assert sample({"text": text}).messages == [Q, A]
