"""Asking: questions that are cut, replies without an answer, and what identifies a value."""

import collections

import pytest

from operators.asking.judge import Judge
from operators.asking.language_model import OutOfTokens, Question
from operators.asking.local_model import prompt_text
from operators.checkpoint import Checkpoint
from tests.batches import batch
from tests.operators.asking.asked import remote, values
from tests.servers import prompt, said, served
from tests.tiny import tiny_tokenizer


def test_where_the_server_is_does_not_identify_a_value_and_what_is_asked_does():
    one = Judge(model=Checkpoint("m"), endpoint="http://a/v1", concurrency=3)
    assert one.fingerprint() == Judge(model=Checkpoint("m"), endpoint="http://b/v1", timeout=5.0).fingerprint()
    others = [
        {"dimension": "helpfulness"},
        {"max_tokens": 9},
        {"thinking": "default"},
        {"form": "json"},
        {"temperature": 0.5},
        {"highest": 9.0},
    ]
    prints = {Judge(model=Checkpoint("m"), endpoint="http://a/v1", **fields).fingerprint() for fields in others}
    assert len(prints | {one.fingerprint()}) == 7


def test_a_local_model_s_template_is_told_not_to_think_unless_it_is_left_alone(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path, ["a b"])
    tokenizer.chat_template = "{{ 'silent' if enable_thinking is defined and not enable_thinking else 'free' }}"
    messages = [{"role": "user", "content": "Q"}]
    assert prompt_text(tokenizer, messages, Judge().manner().thinking) == "silent"
    assert prompt_text(tokenizer, messages, Judge(thinking="default").manner().thinking) == "free"


def thinking(request):
    return said("<think>\nOkay, the user wants a rating of", "length")


def reasoning(request):
    body = said("", "length")
    body["choices"][0]["message"] |= {"content": None, "reasoning_content": "Okay, the user wants a rating of"}
    return body


def untagged(request):
    return said("Okay, so I have to rate this from 0 to 5. First", "length")


@pytest.mark.parametrize("reply", [thinking, reasoning, untagged])
@pytest.mark.parametrize("form", ["line", "json"])
def test_first_replies_that_all_end_before_an_answer_end_the_map_and_are_kept(reply, form):
    with served(reply) as server:
        judge = remote(server, concurrency=1, form=form)
        found = {}
        lots = judge.load()(batch([(f"a{i}", "b") for i in range(60)]))
        with pytest.raises(OutOfTokens, match=r"first 20 replies were cut at 32 tokens, .*Okay, ") as caught:
            collections.deque(map(found.update, lots), 0)
    assert caught.value.tokens == 2048
    assert {each["outcome"] for each in found.values()} == {"unfinished"}
    assert len(found) == 20
    assert len(server.requests) <= 22


def test_replies_go_on_where_one_of_the_first_came_to_an_answer_or_there_are_few():
    def reply(request):
        return (
            said("4\nbecause", "length")
            if "=== instruction" in prompt(request) and "a7\n" in prompt(request)
            else thinking(request)
        )

    with served(reply) as server:
        found = values(remote(server, concurrency=1), batch([(f"a{i}", "b") for i in range(30)]))
        assert [each["outcome"] for each in found].count("unfinished") == 29
        few = values(remote(server, concurrency=1), batch([(f"b{i}", "b") for i in range(12)]))
        assert {each["outcome"] for each in few} == {"unfinished"}


def test_a_question_is_cut_in_the_order_of_its_texts():
    question = Question({"response": "abc", "input": "", "instruction": "xyz"}, lambda texts, tokens: [])
    once = question.shorter(2)
    assert once is not None
    assert once.texts["response"] == "a"
    twice = once.shorter(5).shorter(1)
    assert twice is not None
    assert twice.texts == {"response": "", "input": "", "instruction": "xy"}
    assert twice.shorter(9).shorter(1) is None
