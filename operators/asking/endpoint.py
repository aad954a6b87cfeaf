"""An OpenAI-compatible server as a language model: concurrent requests, each retried where a retry can help.

Temporary failures (429, 408, 5xx, a broken connection) are retried after growing, jittered pauses, or as Retry-After
says, within the time that one answer may take. The client library would take that time for each try. A failure that
remains is the error of one sample. Where each further request would fail in the same way (no connection, a refused key,
an unknown model, no credit), it ends the map. The key is read from OPENAI_API_KEY only.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from operators.asking.access import check_server, key, key_refused, said_by
from operators.asking.completion import TOO_LONG, Garbled, ServerError, complaint, completion
from operators.asking.language_model import Answer, AnswerOrError, Manner, Question, template_options
from operators.asking.pacing import Pace, Patience, joined_until, retry_after
from operators.base import RowError
from operators.missing import ModelMissing

TRIES = 9
"""The number of attempts where the server is broken or out of reach."""
GARBLED = 3
"""Attempts where the reply is not a completion (JSON cut short, no choice in it)."""
PASSING = (408, 409, 425)
"""The HTTP statuses below 500 of temporary errors."""
TOO_FAST = 429
"""The status of a server that is asked too fast. It is asked again for as long as an answer may take."""
NO_CREDIT = "insufficient_quota"
"""Part of the error, with the status of TOO_FAST, of an account without credit; others say 402."""
OPTIONS = "chat_template"
"""Part of the error of a server that takes no options for its chat template; most call them chat_template_kwargs."""
MAX_TOKENS, OTHER_MAX_TOKENS = "max_tokens", "max_completion_tokens"
"""The two names of the bound of an answer. The newer models of OpenAI take the second one alone, and say so."""
LOGPROBS = 20
"""The number of alternatives of the first token to request; the maximum of the API."""


class ServerRefuses(Exception):
    """Each further request would fail in the same way."""


@dataclass(frozen=True)
class Server:
    """A server, the model that is asked there, and how fast it may be asked."""

    url: str
    """Up to and including /v1."""
    model: str
    """The name that the server gives the model."""
    concurrency: int
    """Requests that are open at the same time."""
    requests_a_minute: float | None
    """None for no limit."""
    timeout: float
    """Seconds that one answer may take, with all attempts."""


class Endpoint:
    """A language model on a server."""

    def __init__(self, server: Server) -> None:
        from openai import OpenAI

        self.server = server
        self.pace = Pace(60 / server.requests_a_minute if server.requests_a_minute else 0.0)
        self.client = OpenAI(base_url=server.url, api_key=key() or "none", max_retries=0)
        self.takes_options = True
        """Whether the server takes options for the chat template, as far as its replies show."""
        self.bound = MAX_TOKENS
        """The name of the bound of an answer, as far as its replies show."""

    def answers(self, questions: Sequence[Question], manner: Manner) -> Iterator[dict[int, AnswerOrError]]:
        """The answers by the position of their question, as they arrive; ServerRefuses where none would be answered."""
        threads = ThreadPoolExecutor(self.server.concurrency)
        waiting: dict[Future[AnswerOrError], int] = {
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
                    each.result()  # raises ServerRefuses
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question, manner: Manner) -> AnswerOrError:
        """The answer to a question, which is cut as long as the server finds it too long."""
        asked: Question | None = question
        options = template_options(manner.thinking) if self.takes_options else {}
        refused_options = False
        while asked:
            bound = self.bound
            try:
                answer = self._asked(asked, manner, options)
                self.takes_options = self.takes_options and not refused_options
                return answer
            except ServerError as error:
                status, said = error.status, said_by(error)
            if options and OPTIONS in said:  # an error may quote the request: the next attempt shows
                options, refused_options = {}, True
                continue
            if bound == MAX_TOKENS and OTHER_MAX_TOKENS in said:
                self.bound = OTHER_MAX_TOKENS
                continue
            refused = self._refused(status, said)
            if refused:
                return refused
            longest = next((text for text in asked.texts.values() if text), "")
            asked = asked.shorter(max(1, len(longest) // 2))
        return RowError("too_long", "the prompt alone is longer than the model's context")

    def _refused(self, status: int, said: str) -> RowError | None:
        """The error of a question; None where a shorter question may be answered. ServerRefuses where none would be."""
        url = self.server.url
        if status == 401 or (status == 403 and self._refuses_the_key()):
            raise ServerRefuses(f"{key_refused(url, status)}. It says: {said}")
        if status == 403:  # also what firewalls and moderators say of a text
            return RowError("forbidden", said)
        if status == 402 or NO_CREDIT in said:
            raise ServerRefuses(f"{url} has no credit for this key: {said}. What was answered is kept; run again")
        if status == 404:
            raise ServerRefuses(f"{url} does not know the model {self.server.model!r}: {said}")
        if status == TOO_FAST:
            return RowError("rate_limit", said)
        if status not in (400, 413, 422):
            return RowError("server_error", said)
        return None if any(words in said.lower() for words in TOO_LONG) else RowError("bad_request", said)

    def _refuses_the_key(self) -> bool:
        try:
            check_server(self.server.url)
        except ModelMissing:
            return True
        return False

    def _asked(self, question: Question, manner: Manner, options: Mapping[str, Any]) -> AnswerOrError:
        """The answer to one question, asked again where the reply is garbled or a temporary error.

        ServerError for another error and where a temporary one remains; ServerRefuses where the server is gone.
        """
        import openai

        request = self._request(question, manner, options)
        patience = Patience(self.server.timeout)
        while True:
            patience.add(self.pace.wait())
            try:
                found = self._reply(request, manner, patience.left())
                return found if isinstance(found, RowError) else replace(found, cut=question.cut)
            except Garbled as error:
                if not patience.again(GARBLED):
                    return RowError("garbled_reply", said_by(error))
            except openai.APITimeoutError:
                return RowError("timeout", f"no answer within {self.server.timeout:g} s")
            except openai.APIConnectionError as error:
                if not patience.again(TRIES):
                    return self._disconnected(error)
            except ServerError as error:
                if not patience.again(_tries(error), error.seconds):
                    raise

    def _request(self, question: Question, manner: Manner, options: Mapping[str, Any]) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.server.model,
            "messages": question.render(question.texts, ()),
            "temperature": manner.temperature,
            "seed": manner.seed,
            self.bound: manner.max_tokens,
            **_wanted(manner),
        }
        return request | {"extra_body": {"chat_template_kwargs": dict(options)}} if options else request

    def _reply(self, request: Mapping[str, Any], manner: Manner, seconds: float) -> AnswerOrError:
        """The answer to one request; seconds: the time that it may take. ServerError for any error of the server."""
        import openai

        try:
            body = self._body(request, seconds)
        except openai.APIStatusError as error:
            said = complaint(error.response.content) or f"HTTP {error.status_code}"
            raise ServerError(said, error.status_code, retry_after(error.response.headers)) from None
        found = completion(body, manner.labels)
        return found if isinstance(found, RowError) else Answer(found.text, found.finished, False, found.masses)

    def _body(self, request: Mapping[str, Any], seconds: float) -> bytes:
        """The body of the reply to one request."""
        import openai

        until = time.monotonic() + seconds
        with self.client.chat.completions.with_streaming_response.create(**request, timeout=seconds) as reply:
            try:
                return joined_until(until, reply.iter_bytes())
            except Exception as error:  # of httpx, or of what else the client library sends requests with
                kind = openai.APIConnectionError if time.monotonic() < until else openai.APITimeoutError
                raise kind(request=reply.http_request) from error

    def _disconnected(self, error: Exception) -> RowError:
        """The error of a question that breaks every connection; ServerRefuses where the server answers nobody."""
        try:
            check_server(self.server.url)
        except ModelMissing:
            raise ServerRefuses(
                f"{self.server.url} is gone: {said_by(error)}. What was answered is kept; run again"
            ) from None
        return RowError("server_error", f"the server breaks the connection, {TRIES} times: {said_by(error)}")


def _tries(error: ServerError) -> float:
    """The number of attempts for a question with this error, within its time."""
    if error.status == TOO_FAST:
        return 1 if NO_CREDIT in error.message else math.inf
    return TRIES if error.status >= 500 or error.status in PASSING else 1


def _wanted(manner: Manner) -> dict[str, Any]:
    if manner.labels:
        return {"logprobs": True, "top_logprobs": LOGPROBS}
    if manner.schema:
        shape = {"name": "rating", "strict": True, "schema": dict(manner.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": shape}}
    return {}
