"""The body of a server's reply, read as a chat completion: an answer, or an error of the server.

    completion(b'{"choices": [{"message": {"content": "4.5"}}]}')     Completion("4.5", finished=True, masses={})
    completion(b'{"error": {"message": "overloaded", "code": 529}}')  raises ServerError

Gateways may send an error with HTTP status 200, a content in parts, or a page of HTML. Some servers return the
thinking of a message apart from its content. The thinking is not an answer: the content alone is read. Where there is
no content, the text is the thinking after an opening tag that is never closed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operators.base import RowError

THINKING = "<think>"
CUT = ("length", "content_filter")
"""The finish reasons of an answer that the server ended before the model did."""
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
"""The HTTP status for a word in the type or code of an error; any other error may be temporary."""
UNAVAILABLE = 503
WITHOUT_LOGPROBS = (
    "the server answers without the probabilities of its tokens: ask one that gives them, or read the rating from the "
    "text (form=line)"
)


class Garbled(Exception):
    """The body is not a chat completion."""


class ServerError(Exception):
    """An error in place of an answer, with the HTTP status that it should have had."""

    def __init__(self, message: str, status: int, seconds: float = 0.0):
        super().__init__(message, status)
        self.message = message
        self.status = status
        self.seconds = seconds
        """How long the server asks to wait."""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Completion:
    """A model's answer."""

    text: str
    finished: bool
    masses: Mapping[str, float]
    """The probability of each label as the first token; 0 for a label that the server does not list."""


def completion(body: bytes, labels: Sequence[str] = ()) -> Completion | RowError:
    """The completion in a body, or a RowError where the model or the server refuses this one question.

    labels: the single tokens whose probability is wanted. ServerError where the body is an error, Garbled where it is
    neither an error nor a completion.
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
            return RowError("content_filter", "the server's content filter withheld the answer")
        text = _thinking(message) or text
    masses = _masses(choice, labels)
    if masses is None and text.strip():
        return RowError("no_logprobs", WITHOUT_LOGPROBS)
    # JSON can contain half a surrogate pair, which UTF-8 cannot.
    return Completion(text.encode("utf-8", "replace").decode(), finish not in CUT, masses or dict.fromkeys(labels, 0.0))


def complaint(body: bytes) -> str:
    """The error message in a body; the beginning of the body where it has no known form."""
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
        raise Garbled(f"the reply is not a JSON object: {_shown(body)}")
    return reply


def _error(reply: Mapping[str, Any], choice: Any) -> ServerError | None:
    """The error of the reply or of its choice, or in place of the choices; None where there is none."""
    error = reply.get("error") or (isinstance(choice, dict) and choice.get("error"))
    if not error and choice is None:
        error = reply.get("detail") or ("message" in reply and reply)
    if not error:
        return None
    details = error if isinstance(error, dict) else {}
    message = details.get("message") or details.get("detail") or error
    message = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    code = details.get("code")
    named = f" ({code})" if isinstance(code, str) and not code.isdigit() else ""
    return ServerError(f"{message[: 2 * SHOWN]}{named}", _status({**reply, **details}, message))


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
    """The text of a content: a string as it is, else the concatenated texts of its parts of this kind."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part if isinstance(part, str) else _part(part, kind) for part in parts)


def _part(part: Any, kind: str) -> str:
    """The text of a part such as {"type": "text", "text": ...} or {"type": "thinking", "thinking": [...]}."""
    if not isinstance(part, dict) or kind not in str(part.get("type", kind)):
        return ""
    return _texts(part.get(kind), "text")


def _thinking(message: Mapping[str, Any]) -> str:
    """The thinking after an opening tag, as in a reply that was cut within it; empty where there is none."""
    apart = (message.get(key) for key in ("reasoning_content", "reasoning"))
    thought = next((each for each in apart if isinstance(each, str) and each.strip()), "")
    content = message.get("content")
    thought = thought or (_texts(content, "thinking") if isinstance(content, list) else "")
    return f"{THINKING}{thought}" if thought else ""


def _masses(choice: Mapping[str, Any], labels: Sequence[str]) -> dict[str, float] | None:
    """The probability of each label as the first token; None where labels are wanted and the server gives none."""
    if not labels:
        return {}
    try:
        content = (choice.get("logprobs") or {}).get("content")
        alternatives = (
            [(each["token"].strip(), each["logprob"]) for each in content[0]["top_logprobs"]] if content else []
        )
        masses = {
            label: math.fsum(math.exp(mass) for token, mass in alternatives if token == label) for label in labels
        }
        return masses if alternatives else None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise Garbled(f"the reply's logprobs cannot be read: {type(error).__name__} {error}") from None


def _shown(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:SHOWN]
