"""An OpenAI-compatible server as a language model: many requests at a time, each tried again when that can help.

The client library retries what is worth it (429, 408, 5xx, a broken connection) with growing, jittered pauses, and
waits as long as Retry-After says. What remains is one sample's error, or, where every further request would fail alike
(no connection, a refused key, an unknown model), the end of the map. The key comes from OPENAI_API_KEY only.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import urlsplit

from operators.asking import Answer, Manner, Outcome, Question
from operators.base import RowError
from operators.missing import ModelMissing

KEY = "OPENAI_API_KEY"
RETRIES = 8
"""Further tries of the client library after the first; its pauses grow to 8 s."""
GARBLED = 3
"""Tries where the server answers with what is no reply (JSON cut short, no choice in it)."""
LOGPROBS = 20
"""Alternatives of the first token that are asked for; the most that the API allows."""
CHECK_SECONDS = 10.0
TOO_LONG = ("context_length", "context length", "maximum context", "max_model_len", "too long", "input length")


class Refused(Exception):
    """Every further request would fail as this one did."""


def check(endpoint: str) -> None:
    """ModelMissing where nothing answers at the URL, or it refuses the key."""
    import httpx

    if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname:
        raise ModelMissing(f"endpoint {endpoint!r} is not a URL; give one such as http://host:8000/v1")
    headers = {"Authorization": f"Bearer {os.environ[KEY]}"} if os.environ.get(KEY) else {}
    try:
        status = httpx.get(f"{endpoint.rstrip('/')}/models", headers=headers, timeout=CHECK_SECONDS).status_code
    except httpx.ReadTimeout:
        return  # it is there, and busy
    except httpx.HTTPError as error:
        raise ModelMissing(f"no server answers at {endpoint}: {_said(error)}. Start it, or mend the URL") from None
    if status in (401, 403):
        raise ModelMissing(_key_refused(endpoint, status))


class Endpoint:
    """A model that a server has under a name."""

    def __init__(self, url: str, name: str, concurrency: int, requests_a_minute: float | None, timeout: float) -> None:
        from openai import OpenAI

        self.url, self.name, self.concurrency = url, name, concurrency
        self.pace = Pace(60 / requests_a_minute if requests_a_minute else 0.0)
        key = os.environ.get(KEY) or "none"
        self.client = OpenAI(base_url=url, api_key=key, max_retries=RETRIES, timeout=timeout)

    def answers(self, questions: Sequence[Question], manner: Manner) -> Iterator[dict[int, Outcome]]:
        """The answers by position, as they come; raises Refused where the server will answer nothing."""
        threads = ThreadPoolExecutor(self.concurrency)
        waiting: dict[Future[Outcome], int] = {
            threads.submit(self._answer, question, manner): at for at, question in enumerate(questions)
        }
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                came = {waiting.pop(each): each for each in done}
                answered = {at: each.result() for at, each in came.items() if not each.exception()}
                if answered:
                    yield answered
                for each in came.values():
                    each.result()  # raises where it failed for good
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question, manner: Manner) -> Outcome:
        """One answer; the question is cut where the server says that it is too long."""
        import openai

        asked: Question | None = question
        while asked:
            try:
                return self._asked(asked, manner)
            except openai.BadRequestError as error:
                said = _said(error)
                if not any(words in said.lower() for words in TOO_LONG):
                    return RowError("bad_request", said)
                longest = next((text for text in asked.texts.values() if text), "")
                asked = asked.shorter(max(1, len(longest) // 2))
            except openai.APITimeoutError:
                return RowError("timeout", f"no answer within the timeout, {RETRIES + 1} times")
            except openai.APIConnectionError as error:
                raise Refused(f"{self.url} is gone: {_said(error)}. What was answered is kept; run again") from None
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise Refused(_key_refused(self.url, error.status_code)) from None
            except openai.NotFoundError as error:
                raise Refused(f"{self.url} does not know the model {self.name!r}: {_said(error)}") from None
            except openai.APIStatusError as error:
                return RowError("server_error", _said(error))
        return RowError("too_long", "the prompt alone is longer than the model's context")

    def _asked(self, question: Question, manner: Manner) -> Outcome:
        """One request's answer, tried again where the reply is garbled."""
        request: dict[str, Any] = {
            "model": self.name,
            "messages": question.render(question.texts, ()),
            "temperature": manner.temperature,
            "seed": manner.seed,
            "max_tokens": manner.max_tokens,
            **_wanted(manner),
        }
        garbled = ""
        for _ in range(GARBLED):
            self.pace.wait()
            try:
                reply = self.client.chat.completions.create(**request)
                choice = reply.choices[0]
                # JSON can spell half a surrogate pair, which no file in UTF-8 can hold.
                text = (choice.message.content or "").encode("utf-8", "replace").decode()
            except (ValueError, TypeError, IndexError, AttributeError) as error:
                garbled = _said(error)
                continue
            masses = _masses(choice, manner.labels)
            return Answer(text, choice.finish_reason != "length", question.cut, masses)
        return RowError("garbled_reply", garbled)


class Pace:
    """At most one request in so many seconds, whichever thread makes it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.next = 0.0
        self.lock = threading.Lock()

    def wait(self) -> None:
        """Returns when it is this caller's turn."""
        if not self.seconds:
            return
        with self.lock:
            turn = max(self.next, time.monotonic())
            self.next = turn + self.seconds
        time.sleep(max(0.0, turn - time.monotonic()))


def _wanted(manner: Manner) -> dict[str, Any]:
    if manner.labels:
        return {"logprobs": True, "top_logprobs": LOGPROBS}
    if manner.schema:
        shape = {"name": "rating", "strict": True, "schema": dict(manner.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": shape}}
    return {}


def _masses(choice: Any, labels: Sequence[str]) -> dict[str, float]:
    """The probability of each label among the alternatives of the first token; 0 where it is not among them."""
    from math import exp

    content = choice.logprobs.content if labels and choice.logprobs else None
    alternatives = content[0].top_logprobs if content else []
    return {label: sum(exp(each.logprob) for each in alternatives if each.token.strip() == label) for label in labels}


def _key_refused(url: str, status: int) -> str:
    how = f"set {KEY} to one it takes" if os.environ.get(KEY) else f"no {KEY} is set in the environment"
    return f"{url} refuses the key (HTTP {status}): {how}"


def _said(error: Exception) -> str:
    """An error's first line, without the key, which servers may repeat."""
    key = os.environ.get(KEY)
    lines = str(error).strip().splitlines()
    line = lines[0][:500] if lines else type(error).__name__
    return line.replace(key, "***") if key else line
