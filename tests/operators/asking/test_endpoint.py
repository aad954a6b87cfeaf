"""A server as a language model: what is retried, what is an error of one sample, and what ends the map."""

import threading
import time

import pytest

from operators.asking import pacing
from operators.asking.access import check_server
from operators.base import RowError
from operators.missing import ModelMissing
from tests.batches import TEXTS, batch
from tests.operators.asking.asked import remote, values
from tests.servers import failed, prompt, said, served


@pytest.mark.fault(
    "a server fails, stalls or answers nonsense",
    how="a local server: 429 with Retry-After, 500, half an answer, a closed connection, prose",
    holds="what may pass is asked again; prose is an error of its sample",
)
def test_every_row_has_one_value_whatever_the_server_does():
    order = [text for text, _ in TEXTS]
    asked_before = set()

    def reply(request):
        text = prompt(request)
        first = next(at for at, sample in enumerate(order) if f"\n{sample}\n=== end of instruction" in text)
        again = first in asked_before
        asked_before.add(first)
        if not again and first == 0:
            return failed(429, seconds=0.1)
        if not again and first == 1:
            return failed(500)
        if not again and first == 2:
            return 200, {}, b'{"choices": [{"mess'
        if not again and first == 3:
            return None
        return "I would say that this is rather good." if first == 4 else said("4.5\nBecause.")

    with served(reply) as server:
        found = values(remote(server))
    assert [each["outcome"] for each in found].count("") == 5
    assert {each["score"] for each in found} == {4.5, None}
    assert len(server.requests) == 10


@pytest.mark.fault(
    "a server fails, stalls or answers nonsense",
    how="400 for a parameter of the request",
    holds="asked once; an error of the sample",
)
def test_what_does_not_help_is_not_tried_again():
    with served(lambda request: failed(400, "temperature is not supported")) as server:
        found = values(remote(server), batch([("a", "b")]))
    assert isinstance(found[0], RowError)
    assert found[0].kind == "bad_request"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (failed(401, "Incorrect API key provided: sk-canary"), "refuses the key .HTTP 401.: set OPENAI_API_KEY"),
        (failed(404, "The model `any` does not exist"), "does not know the model 'any'"),
        (failed(402, "Insufficient Balance"), "has no credit for this key: Insufficient Balance"),
        ((429, {}, b'{"error": {"message": "Pay.", "code": "insufficient_quota"}}'), "has no credit .*: Pay"),
    ],
)
@pytest.mark.fault(
    "a key could be shown",
    how="a server that repeats the key in its error",
    holds="the map ends, and its message has no key",
)
def test_a_server_that_will_never_answer_ends_the_map_and_the_key_is_not_told(monkeypatch, reply, message):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with served(lambda request: reply) as server, pytest.raises(Exception, match=message) as caught:
        values(remote(server))
    assert "sk-canary" not in str(caught.value)
    assert len(server.requests) <= len(TEXTS)
    assert server.headers[0]["authorization"] == "Bearer sk-canary"


@pytest.mark.fault(
    "a key could be shown",
    how="a key with a line break at its end, as a file has it, and one with a letter that no header takes",
    holds="the first is sent without the line break; the message about the second has no key",
)
def test_a_key_from_a_file_is_sent_alone_and_one_that_no_header_takes_is_refused(monkeypatch):
    with served(lambda request: "4.5") as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canary\n")
        remote(server).check()
        values(remote(server), batch([("a", "b")]))
        assert server.headers[0]["authorization"] == "Bearer sk-canary"
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canäry")
        with pytest.raises(ModelMissing, match="the key in OPENAI_API_KEY has a character that no key has") as caught:
            remote(server).check()
    assert "sk-can" not in str(caught.value)


def test_a_pause_that_is_no_number_and_no_day_is_none():
    for said_so in ("", "soon", "nan", "-3", "Wed, 99 Oct 99999999999 07:28:00 GMT"):
        assert pacing.retry_after({"retry-after": said_so}) == 0.0
    assert pacing.retry_after({"retry-after": "2.5"}) == 2.5


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://localhost:port/v1", "localhost:8000/v1"])
def test_an_endpoint_that_is_no_url_is_refused_by_name(url):
    with pytest.raises(ModelMissing, match="is not a URL; give one such as"):
        check_server(url)


@pytest.mark.fault(
    "a server fails, stalls or answers nonsense",
    how="403 for one text, as a firewall or a moderator before the model says it",
    holds="an error of the sample, where the server takes the key",
)
def test_a_text_that_is_forbidden_is_an_error_of_its_sample():
    with served(lambda request: failed(403, "flagged") if "a0\n" in prompt(request) else "4\n") as server:
        flagged, other = values(remote(server), batch([("a0", "b"), ("a1", "b")]))
    assert isinstance(flagged, RowError)
    assert (flagged.kind, flagged.message) == ("forbidden", "flagged")
    assert other["score"] == 4


def test_a_sample_longer_than_the_context_is_cut_from_the_answers_end_and_flagged():
    def reply(request):
        text = prompt(request)
        return failed(400, "This model's maximum context length is 900 tokens") if len(text) > 3500 else "3"

    with served(reply) as server:
        long, short = values(remote(server), batch([("Écris.", "Il pleut. " * 400), ("a", "b")]))
    assert long["cut"]
    assert not short["cut"]
    assert long["score"] == 3
    assert "Écris." in server.prompts[-1] or "Écris." in server.prompts[-2]


def test_a_server_is_asked_not_to_think_and_one_that_takes_no_such_option_is_asked_without_it():
    def strict(request):
        if "chat_template_kwargs" in request:
            return failed(400, "Unrecognized request argument supplied: chat_template_kwargs")
        return "4\n"

    many = batch([(f"a{i}", "b") for i in range(6)])
    with served(lambda request: "4\n") as server:
        values(remote(server), many)
        assert all(not request["chat_template_kwargs"]["enable_thinking"] for request in server.requests)
        values(remote(server, thinking="default"), batch([("a", "b")]))
        assert "chat_template_kwargs" not in server.requests[-1]
    with served(strict) as server:
        assert [each["score"] for each in values(remote(server, concurrency=1), many)] == [4] * 6
        assert len(server.requests) == 7, "it is told once"


def test_a_model_that_takes_the_bound_of_an_answer_by_its_other_name_gets_it_so():
    def newer(request):
        if "max_tokens" in request:
            return failed(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return "4\n"

    with served(newer) as server:
        found = values(remote(server, concurrency=1), batch([(f"a{i}", "b") for i in range(3)]))
    assert [each["score"] for each in found] == [4] * 3
    assert [request.get("max_completion_tokens") for request in server.requests] == [None, 32, 32, 32]


def test_an_error_that_repeats_the_request_does_not_switch_the_thinking_on():
    def reply(request):
        if "a0\n" not in prompt(request):
            return "4\n"
        return 422, {}, f'{{"detail": "not this one: {", ".join(request)}"}}'.encode()

    with served(reply) as server:
        found = values(remote(server, concurrency=1), batch([(f"a{i}", "b") for i in range(3)]))
    assert isinstance(found[0], RowError)
    assert found[0].kind == "bad_request"
    assert ["chat_template_kwargs" in request for request in server.requests] == [True, False, True, True]


def test_an_error_that_may_pass_is_asked_again_though_its_status_is_200(monkeypatch):
    monkeypatch.setattr(pacing, "PAUSE", 0.01)
    replies = [
        {"error": {"message": "overloaded", "type": "server_error"}},
        {"error": {"message": "slow down", "code": 429}},
        "4\n",
    ]
    with served(lambda request: replies[len(server.requests) - 1]) as server:
        (found,) = values(remote(server), batch([("a", "b")]))
    assert found["score"] == 4
    assert len(server.requests) == 3


@pytest.mark.fault(
    "a server fails, stalls or answers nonsense",
    how="a local server that keeps one question and never answers it",
    holds="the timeout is that of all attempts; the sample has an error, and the others have values",
)
def test_a_question_that_is_never_answered_takes_the_timeout_once():
    ended = threading.Event()
    began = time.monotonic()

    def reply(request):
        if "a0\n" in prompt(request):
            ended.wait(20)
        return "4\n"

    with served(reply) as server:
        stuck, other = values(remote(server, timeout=0.5), batch([("a0", "b"), ("a1", "b")]))
        ended.set()
    assert time.monotonic() - began < 4
    assert isinstance(stuck, RowError)
    assert (stuck.kind, stuck.message) == ("timeout", "no answer within 0.5 s")
    assert other["score"] == 4
    assert len(server.requests) == 2


def test_a_server_that_sends_blanks_to_keep_the_connection_open_takes_no_more_than_the_timeout():
    with served(lambda request: blanks()) as server:
        began = time.monotonic()
        (found,) = values(remote(server, timeout=0.5), batch([("a", "b")]))
        assert time.monotonic() - began < 3
    assert isinstance(found, RowError)
    assert found.kind == "timeout"


def test_a_reply_that_breaks_off_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(pacing, "PAUSE", 0.01)

    def half():
        yield b'{"choices": [{"mess'
        raise OSError

    with served(lambda request: half() if len(server.requests) == 1 else "4\n") as server:
        (found,) = values(remote(server), batch([("a", "b")]))
    assert found["score"] == 4


def blanks(seconds=5):
    """The pieces of a body that is never more than blanks."""
    for _ in range(10 * seconds):
        yield b" "
        time.sleep(0.1)


def test_a_server_that_is_asked_too_fast_is_asked_again_for_as_long_as_an_answer_may_take(monkeypatch):
    monkeypatch.setattr(pacing, "PAUSE", 0.0001)
    with served(lambda request: failed(429) if len(server.requests) < 13 else "4\n") as server:
        (found,) = values(remote(server), batch([("a", "b")]))
    assert (found["score"], len(server.requests)) == (4, 13)
    monkeypatch.setattr(pacing, "PAUSE", 0.2)
    for seconds, most in ((None, 4), (1000.0, 1)):
        with served(lambda request, seconds=seconds: failed(429, "slow down", seconds)) as server:
            (found,) = values(remote(server, timeout=0.5), batch([("a", "b")]))
        assert isinstance(found, RowError)
        assert (found.kind, found.message) == ("rate_limit", "slow down")
        assert len(server.requests) <= most
    assert "set judge.requests_a_minute" in remote(server).advice(found.kind, "judge")


def test_a_question_that_breaks_every_connection_is_an_error_and_a_server_that_is_gone_ends_the_map(monkeypatch):
    monkeypatch.setattr(pacing, "PAUSE", 0.001)
    with served(lambda request: None if "a0\n" in prompt(request) else "4\n") as server:
        broken, other = values(remote(server), batch([("a0", "b"), ("a1", "b")]))
    assert isinstance(broken, RowError)
    assert broken.kind == "server_error"
    assert other["score"] == 4
    with pytest.raises(Exception, match=r"is gone: .*What was answered is kept"):
        values(remote(server), batch([("a0", "b")]))


def html(request):
    return 200, {"Content-Type": "text/html"}, b"<html><body>gateway</body></html>"


@pytest.mark.parametrize(
    ("reply", "kind", "message", "tries"),
    [
        (lambda _: {"error": {"message": "overloaded", "type": "server_error"}}, "server_error", "overloaded", 9),
        (lambda _: {"error": {"message": "no such parameter", "code": 400}}, "bad_request", "no such parameter", 1),
        (html, "garbled_reply", "not JSON: <html><body>gateway", 3),
        (lambda _: {"id": "x", "choices": []}, "garbled_reply", 'no choices: {"id": "x"', 3),
        (lambda _: {"choices": [{"message": None}]}, "garbled_reply", "no message", 3),
        (
            lambda _: {"choices": [{"message": {"content": None, "refusal": "I will not."}}]},
            "refused",
            "I will not.",
            1,
        ),
    ],
)
def test_a_body_that_is_no_answer_is_an_error_in_the_server_s_words(monkeypatch, reply, kind, message, tries):
    monkeypatch.setattr(pacing, "PAUSE", 0.001)
    with served(reply) as server:
        (found,) = values(remote(server), batch([("a", "b")]))
    assert isinstance(found, RowError)
    assert found.kind == kind
    assert message in found.message
    assert len(server.requests) == tries


def test_a_refused_key_in_a_body_ends_the_map():
    error = {"error": {"message": "No auth credentials found", "code": 401}}
    with (
        served(lambda request: error) as server,
        pytest.raises(Exception, match=r"refuses the key .HTTP 401.*No auth credentials found"),
    ):
        values(remote(server))


def test_a_content_in_parts_is_read_without_the_thinking():
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm 3"}]}, {"type": "text", "text": "4.5"}]
    body = said("")
    body["choices"][0]["message"]["content"] = parts
    with served(lambda request: body) as server:
        (found,) = values(remote(server), batch([("a", "b")]))
    assert (found["score"], found["reply"]) == (4.5, "4.5")
