"""The chat completion that the body of a server's reply is: an answer, or what the server says is wrong.

    completion(b'{"choices": [{"message": {"content": "4.5"}}]}')     Completion("4.5", finished=True, masses={})
    completion(b'{"error": {"message": "overloaded", "code": 529}}')  raises ServerError

Gateways send an error with HTTP status 200, a content in parts, or a page of HTML. A message's thinking, where a
server keeps it apart, is no answer: the content is read as it is, and where there is none the reply is the thinking
alone, opened and not closed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operators.base import RowError

THINKING = "<think>"
CUT = ("length", "content_filter")
"""The reasons for which a server ends an answer before the model does."""
SHOWN = 200

TOO_LONG = ("context_length", "context length", "maximum context", "max_model_len", "too long", "input length")
STATUSES = {
    "invalid_request": 400,
    "bad_request": 400,
    "authentication": 401,
    "api_key": 401,
    "permission": 403,
    "not_found": 404,
    "rate_limit": 429,
}
"""The HTTP status that a word in an error's type or code stands for; any other error may pass."""
UNAVAILABLE = 503


class Garbled(Exception):
    """The body is no chat completion."""


class ServerError(Exception):
    """An error that came in the place of an answer, with the HTTP status that it should have had."""

    def __init__(self, message: str, status: int):
        super().__init__(message, status)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Completion:
    """A model's answer."""

    text: str
    finished: bool
    masses: Mapping[str, float]
    """The probability of each label among the alternatives of the first token; 0 where it is not among them."""


def completion(body: bytes, labels: Sequence[str] = ()) -> Completion | RowError:
    """What a body says; a RowError where the model or the server refuses this one question.

    ServerError where the body is an error, Garbled where it is nothing of the kind.
    """
    reply = _parsed(body)
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = _error(reply, choice)
    if error:
        raise error
    if not isinstance(choice, dict):
        raise Garbled(f"the reply has no choices: {_shown(body)}")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Garbled(f"the reply's choice has no message: {_shown(body)}")
    text, finish = _texts(message.get("content"), "text"), choice.get("finish_reason")
    if not text.strip():
        if refusal := message.get("refusal"):
            return RowError("refused", str(refusal))
        if finish == "content_filter":
            return RowError("content_filter", "the server's filter kept the answer back")
        text = _thinking(message) or text
    # JSON can spell half a surrogate pair, which no file in UTF-8 can hold.
    return Completion(text.encode("utf-8", "replace").decode(), finish not in CUT, _masses(choice, labels))


def complaint(body: bytes) -> str:
    """What a server says in the body of an error; the beginning of the body where it says it in no known way."""
    try:
        error = _error(_parsed(body), None)
    except Garbled:
        error = None
    return str(error) if error else _shown(body)


def _parsed(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise Garbled("the reply is empty")
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        raise Garbled(f"the reply is not JSON: {_shown(body)}") from None
    if not isinstance(reply, dict):
        raise Garbled(f"the reply is no JSON object: {_shown(body)}")
    return reply


def _error(reply: Mapping[str, Any], choice: Any) -> ServerError | None:
    """The error in a reply, where there is one: of the whole, of its choice, or in the place of choices."""
    error = reply.get("error") or (isinstance(choice, dict) and choice.get("error"))
    if not error and choice is None:
        error = reply.get("detail") or ("message" in reply and reply)
    if not error:
        return None
    told = error if isinstance(error, dict) else {}
    message = told.get("message") or told.get("detail") or error
    message = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    code = told.get("code")
    named = f" ({code})" if isinstance(code, str) and not code.isdigit() else ""
    return ServerError(f"{message[: 2 * SHOWN]}{named}", _status({**reply, **told}, message))


def _status(error: Mapping[str, Any], message: str) -> int:
    known = [error.get(key) for key in ("status", "status_code", "code", "type")]
    numbers = [int(each) for each in map(str, known) if each.isascii() and each.isdigit()]
    status = next((each for each in numbers if 400 <= each < 600), None)
    if status:
        return status
    if any(words in message.lower() for words in TOO_LONG):
        return 400
    kinds = " ".join(map(str, known)).lower()
    return next((status for word, status in STATUSES.items() if word in kinds), UNAVAILABLE)


def _texts(content: Any, kind: str) -> str:
    """A text, or the texts of the parts of this kind, one after the other; empty where there is none."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    told = [part if isinstance(part, str) else _part(part, kind) for part in parts]
    return "".join(told)


def _part(part: Any, kind: str) -> str:
    """The text of a part such as {"type": "text", "text": ...} or {"type": "thinking", "thinking": [...]}."""
    if not isinstance(part, dict) or kind not in str(part.get("type", kind)):
        return ""
    return _texts(part.get(kind), "text")


def _thinking(message: Mapping[str, Any]) -> str:
    """What the model thought, as a reply that was cut off in it; empty where the message tells nothing of it."""
    apart = (message.get(key) for key in ("reasoning_content", "reasoning"))
    thought = next((each for each in apart if isinstance(each, str) and each.strip()), "")
    content = message.get("content")
    thought = thought or (_texts(content, "thinking") if isinstance(content, list) else "")
    return f"{THINKING}{thought}" if thought else ""


def _masses(choice: Mapping[str, Any], labels: Sequence[str]) -> dict[str, float]:
    if not labels:
        return {}
    try:
        content = (choice.get("logprobs") or {}).get("content")
        alternatives = (
            [(each["token"].strip(), each["logprob"]) for each in content[0]["top_logprobs"]] if content else []
        )
        return {label: math.fsum(math.exp(mass) for token, mass in alternatives if token == label) for label in labels}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise Garbled(f"the reply's logprobs cannot be read: {type(error).__name__} {error}") from None


def _shown(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:SHOWN]
