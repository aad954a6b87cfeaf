"""Rewriting and responding, against a scripted server: what is asked, and what is made of the replies."""

import json

import pyarrow as pa
import pytest

from operators.asking.language_model import Answer
from operators.asking.prompt import Prompt
from operators.asking.respond import Respond, generated, unthought, upto_last_user
from operators.asking.rewrite import OldInstruction, Rewrite, Rewritten, asked_of, published, repaired
from operators.base import RowError
from operators.characters import Characters
from operators.sample import SAMPLE, Message, text_sha
from tests.servers import prompt, said, served

OLD = OldInstruction("Sort the list.", "3, 1, 2")


def answer(text, finished=True, cut=False):
    return Answer(text, finished, cut, {})


def batch(*samples) -> pa.Table:
    """A batch of (messages, record) pairs; messages are (role, content) pairs."""
    rows = []
    for i, (pairs, record) in enumerate(samples):
        messages = [Message(role=role, content=content) for role, content in pairs]
        raw = json.dumps(record).encode()
        shas = {"sha": text_sha(messages), "text_sha": text_sha(messages)}
        rows.append({"id": i, **shas, "source": "made", "line": i, "messages": messages, "raw": raw})
    return pa.Table.from_pylist(rows, SAMPLE)


def values(operator, table):
    found = {}
    for lot in operator.load()(table):
        found |= lot
    return [found[row] for row in range(table.num_rows)]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Sort it.\ninput:\n[3, 1]", ("Sort it.", "[3, 1]", "")),
        ("Sort it.", ("Sort it.", "", "")),
        ("Read the\n input: a list.\ninput:\n[3]", ("", "", "crashes")),
        ("Sort it.\nInput:\n[3]", ("Sort it.\nInput:\n[3]", "", "")),
        ("Revised prompt: Sort it.", ("Revised prompt: Sort it.", "", "")),
        ("  \n", ("", "", "empty")),
        ("input: [3]", ("", "", "empty")),
    ],
)
def test_published_form_splits_at_input_and_loses_what_has_it_twice(reply, expected):
    assert published(answer(reply)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Sort it in place.\n**Input:**\n[3, 1]", ("Sort it in place.", "[3, 1]", "")),
        ("Read the input: a list.\ninput:\n[3]", ("Read the input: a list.", "[3]", "")),
        ("A.\ninput:\n1\nB.\ninput:\n2", ("A.\ninput:\n1\nB.\ninput:\n2", "", "")),
        ("Revised Prompt: Sort it in place.", ("Sort it in place.", "", "")),
        ("Sure! Here is the rewritten task:\n\nSort it in place.", ("Sort it in place.", "", "")),
        ("**New Task:**\nSort it in place.", ("Sort it in place.", "", "")),
        ("改写后的提示：请就地排序。", ("请就地排序。", "", "")),
        ("Revised prompt:", ("", "", "empty")),
        ("", ("", "", "empty")),
        ("sort  the LIST.\n3, 1, 2 ", ("", "", "unchanged")),
        ("Sort it.\n=== end of instruction 0123456789ab ===", ("", "", "leaked")),
        ("Sort it.\n\nThis rewritten prompt is harder.", ("", "", "leaked")),
        ("<think>Harder: input:</think>\nSort it in place.", ("Sort it in place.", "", "")),
        ("<think>Harder", ("", "", "unfinished")),
        ("Sort \ud83d it", ("", "", "garbled")),
        ("按行排序，并说明时间复杂度。", ("按行排序，并说明时间复杂度。", "", "")),
    ],
)
def test_repaired_form_strips_what_is_no_instruction_and_names_what_is_none(reply, expected):
    assert repaired(OLD, answer(reply)) == expected


def test_a_reply_cut_off_is_no_instruction_in_either_form():
    assert repaired(OLD, answer("Sort it", finished=False)) == Rewritten("", "", "unfinished")
    assert published(answer("Sort it", finished=False)) == Rewritten("", "", "unfinished")


def test_an_input_label_is_part_of_the_instruction_where_the_old_sample_has_no_input():
    reply = "Write a program.\nInput:\nThe first line has n."
    assert repaired(OldInstruction("Write.", ""), answer(reply)) == Rewritten(reply, "", "")


def test_words_that_the_old_sample_has_too_are_not_leaked():
    old = OldInstruction("Explain a rewritten prompt.", "")
    assert repaired(old, answer("Explain each rewritten prompt.")).outcome == ""


def test_asked_of_leaves_out_the_opening_and_keeps_the_input_apart():
    table = batch(
        ([("system", "Be brief."), ("user", "Sort.\n3, 1"), ("assistant", "1, 3")], {"input": "3, 1"}),
        ([("user", "Hi"), ("assistant", "Hello"), ("user", "你好吗？"), ("assistant", "好")], {}),
    )
    rows = table.to_pylist()
    assert asked_of(rows[0]["messages"], rows[0]["raw"]) == ("Sort.", "3, 1")
    assert asked_of(rows[1]["messages"], rows[1]["raw"]) == ("user: Hi\n\nassistant: Hello\n\nuser: 你好吗？", "")


def test_rewrite_asks_for_each_sample_by_its_prompt_and_gives_a_struct_or_an_error():
    table = batch(
        ([("user", "Sort.\n3, 1"), ("assistant", "x")], {"input": "3, 1"}),
        ([("user", "Zähle bis {n}.</s>"), ("assistant", "1")], {}),
        ([("user", "  "), ("assistant", "1")], {}),
    )

    def reply(request):
        return said("Sort in place.\nInput:\n9", "length" if "Zähle" in prompt(request) else "stop")

    with served(reply) as server:
        made = values(Rewrite(endpoint=server.url, prompt=Prompt("lift_rewrite_code")), table)
    assert made[0] == {"instruction": "Sort in place.", "input": "9", "outcome": "", "cut": False}
    assert made[1] == {"instruction": "", "input": "", "outcome": "unfinished", "cut": False}
    assert isinstance(made[2], RowError)
    assert made[2].kind == "empty_text"
    asked = sorted(server.prompts)
    assert len(asked) == 2
    assert all("programming task" in each for each in asked)
    assert sum("Zähle bis {n}.< /s>" in each for each in asked) == 1
    assert {(each["temperature"], each["max_tokens"]) for each in server.requests} == {(0.5, 1024)}


def test_respond_sends_the_conversation_up_to_the_last_user_message():
    table = batch(
        (
            [("tools", "[]"), ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("tool", "21 °C"),
             ("user", "几点了？"), ("assistant", "It is three.")],
            {},
        ),
        ([("system", "Be brief."), ("assistant", "Nobody asked.")], {}),
    )  # fmt: skip
    with served(lambda _: "<think>well</think>\n三点。") as server:
        made = values(Respond(endpoint=server.url), table)
    assert made[0] == {"response": "三点。", "finished": True, "outcome": ""}
    assert isinstance(made[1], RowError)
    (request,) = server.requests
    assert [each["role"] for each in request["messages"]] == ["system", "system", "user", "assistant", "user", "user"]
    assert request["messages"][-1]["content"] == "几点了？"


def test_a_question_that_had_to_be_cut_and_a_response_that_was_are_flagged():
    def reply(request):
        if len(prompt(request)) > 300:
            return 400, {}, b'{"error": {"message": "maximum context length is 100 tokens"}}'
        return said("Two", "length" if "short" in prompt(request) else "stop")

    table = batch(([("user", "字" * 1000)], {}), ([("user", "short")], {}), ([("user", "One?")], {}))
    with served(reply) as server:
        made = values(Respond(endpoint=server.url), table)
    assert [each["outcome"] for each in made] == ["cut", "unfinished", ""]
    assert [each["finished"] for each in made] == [True, False, True]


def test_generated_text_has_no_thinking_in_it():
    assert unthought("<think>a</think>b") == "b"
    assert unthought("a</think>b") == "b"
    assert unthought("the tag <think> and </think>") == "the tag <think> and </think>"
    assert unthought("[THINK]a") is None
    assert generated(answer("<think>a</think>\n ")).outcome == "empty"
    assert upto_last_user([{"role": "assistant", "content": "a"}]) == []


def test_where_the_server_is_does_not_change_what_is_asked_but_the_form_does():
    one, other = Rewrite(endpoint="http://a/v1"), Rewrite(endpoint="http://b/v1", concurrency=3)
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != Rewrite(endpoint="http://a/v1", form="published").fingerprint()
    with pytest.raises(ValueError, match="placeholder"):
        Rewrite(endpoint="http://a/v1", prompt=Prompt("lift_judge")).check()


def test_characters_are_code_points_of_the_text_without_those_that_do_not_count():
    table = batch(([("user", "Sort.\n3,\t1"), ("assistant", "1\n好👍")], {"input": "3,\t1"}), ([("user", "")], {}))
    assert Characters(text="{instruction}{response}", uncounted="\n\t").load()(table) == [11, 0]
    assert Characters(text="{request}").load()(table) == [5, 0]
