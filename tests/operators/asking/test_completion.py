"""The body of a server's reply: the answer in it, or what the server says is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.asking.completion import Completion, Garbled, ServerError, complaint, completion
from operators.base import RowError


def body(finish="stop", **message) -> bytes:
    return json.dumps({"choices": [{"finish_reason": finish, "message": message}]}).encode()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "4.5"}, "4.5"),
        ({"content": ""}, ""),
        ({"content": " \n"}, " \n"),
        ({"content": None}, ""),
        ({"content": "4.5", "reasoning_content": "3?"}, "4.5"),
        ({"content": None, "reasoning_content": "3?"}, "<think>3?"),
        ({"content": " \n", "reasoning": "3?"}, "<think>3?"),
        ({"content": None, "reasoning": {"tokens": 3}}, ""),
        ({"content": [{"type": "text", "text": "4"}, {"type": "text", "text": ".5"}]}, "4.5"),
        ({"content": [{"type": "output_text", "text": "4.5"}]}, "4.5"),
        ({"content": ["4", ".5"]}, "4.5"),
        ({"content": [{"type": "image_url"}, None, {"type": "text"}]}, ""),
        ({"content": [{"type": "thinking", "thinking": "3?"}]}, "<think>3?"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "3?"}]}]}, "<think>3?"),
        ({"content": "四点五"}, "四点五"),
        ({"content": "\ud83d"}, "?"),
    ],
)
def test_the_text_is_the_content_and_the_thinking_where_there_is_no_content(message, text):
    assert completion(body(**message)) == Completion(text, True, {})


@pytest.mark.parametrize(("finish", "finished"), [("stop", True), (None, True), ("length", False)])
def test_an_answer_is_finished_unless_the_server_cut_it(finish, finished):
    assert completion(body(finish, content="4")) == Completion("4", finished, {})


def test_what_a_filter_left_is_not_finished_and_what_it_kept_back_is_an_error():
    assert completion(body("content_filter", content="4")) == Completion("4", False, {})
    kept_back = completion(body("content_filter", content=None))
    assert isinstance(kept_back, RowError)
    assert kept_back.kind == "content_filter"


@pytest.mark.parametrize(
    ("reply", "message", "status"),
    [
        ({"error": {"message": "overloaded", "type": "server_error"}}, "overloaded", 503),
        ({"error": {"message": "slow", "code": "429"}}, "slow", 429),
        ({"error": {"message": "slow", "type": "rate_limit_error"}}, "slow", 429),
        ({"error": {"message": "no", "type": "invalid_request_error", "code": None}}, "no", 400),
        ({"error": {"message": "no", "type": "authentication_error"}}, "no", 401),
        ({"error": {"message": "no", "code": "model_not_found"}}, "no (model_not_found)", 404),
        ({"error": {"message": "the maximum context is 9"}}, "the maximum context is 9", 400),
        ({"error": "busy"}, "busy", 503),
        ({"error": "no", "status": 401}, "no", 401),
        ({"error": {"reason": 5}}, '{"reason": 5}', 503),
        ({"object": "error", "message": "bad", "code": 400}, "bad", 400),
        ({"detail": "Service is starting"}, "Service is starting", 503),
        ({"choices": [{"error": {"message": "gone", "code": 502}, "message": {"content": ""}}]}, "gone", 502),
        ({"error": {"message": "late"}, "choices": [{"message": {"content": "4"}}]}, "late", 503),
    ],
)  # fmt: skip
def test_an_error_has_the_server_s_message_and_the_status_it_should_have_had(reply, message, status):
    with pytest.raises(ServerError) as caught:
        completion(json.dumps(reply).encode())
    assert (caught.value.message, caught.value.status) == (message, status)


def test_a_complaint_is_the_server_s_message_or_what_the_body_begins_with():
    assert complaint(b'{"error": {"message": "too many", "code": "context_length_exceeded"}}') == (
        "too many (context_length_exceeded)"
    )
    assert complaint(b'{"detail": [{"loc": ["seed"]}]}') == '[{"loc": ["seed"]}]'
    assert complaint("<h1>Störung</h1>\n".encode()) == "<h1>Störung</h1>"
    assert complaint(b"") == ""


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the reply is empty"),
        (b"<html>gateway</html>", "not JSON: <html>gateway</html>"),
        (b'{"choices": [{"mes', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"choices": null}', "no choices"),
        (b'{"choices": []}', "no choices"),
        (b'{"choices": ["4"]}', "no choices"),
        (b'{"choices": [{"text": "4"}]}', "no message"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_anything_else_is_garbled_and_shown(raw, message):
    with pytest.raises(Garbled, match=message):
        completion(raw)


def test_masses_add_up_a_label_s_spellings_and_broken_ones_are_garbled():
    tops = [{"token": "4", "logprob": 0.0}, {"token": " 4", "logprob": 0.0}, {"token": "x", "logprob": 0.0}]
    choice = {"message": {"content": "4"}, "logprobs": {"content": [{"top_logprobs": tops}]}}
    found = completion(json.dumps({"choices": [choice]}).encode(), ("4", "5"))
    assert isinstance(found, Completion)
    assert found.masses == {"4": 2.0, "5": 0.0}
    choice["logprobs"] = {"content": [{"top_logprobs": [{"token": "4"}]}]}
    with pytest.raises(Garbled, match="logprobs cannot be read"):
        completion(json.dumps({"choices": [choice]}).encode(), ("4",))


def test_an_answer_without_the_probabilities_that_were_asked_for_is_an_error_and_not_one_without_a_digit():
    for logprobs in (None, {"content": None}, {"content": []}, {"content": [{"top_logprobs": []}]}):
        choice = {"message": {"content": "4"}, "logprobs": logprobs}
        found = completion(json.dumps({"choices": [choice]}).encode(), ("4", "5"))
        assert isinstance(found, RowError)
        assert found.kind == "no_logprobs"
    choice["message"]["content"] = ""  # nothing was said, so nothing had a probability
    assert completion(json.dumps({"choices": [choice]}).encode(), ("4",)) == Completion("", True, {"4": 0.0})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "error", "code", "type", "text", "thinking", "refusal",
                         "reasoning", "finish_reason", "detail", "logprobs"]),
        inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_json_is_an_answer_an_error_or_garbled(value):
    for reply in (value, {"choices": [value]}, {"choices": [{"message": value}]}, {"error": value}):
        try:
            found = completion(json.dumps(reply).encode(), ("4",))
        except (Garbled, ServerError):
            continue
        assert isinstance(found, Completion | RowError)
