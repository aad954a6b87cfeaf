"""The formats of instruction data: from a record's fields to its messages.

The format of each record is recognised by the values of its own fields. `FORMATS` lists the formats in order of
precedence. A format whose needed fields all hold something comes before one with a null or an empty value among them.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.advice import TABLE, is_columns, no_format
from jobs.engine.ingest.records.columns import format_of, refuse_absent, with_paths
from jobs.engine.ingest.records.contents import content_of
from jobs.engine.ingest.records.format import Format
from jobs.engine.ingest.records.messages import REASONING_FIELDS, Spoken, conversation_in
from jobs.engine.ingest.records.preferences import other_answer, pair, respelled
from jobs.engine.ingest.records.rendered import is_rendered, rendered
from jobs.engine.ingest.records.turns import calls_only, single_turn, two_sides
from jobs.engine.ingest.records.values import Record, as_json, decoded, filled, unpadded
from operators.sample import Message

SHAPES = 1024
TEMPLATE_FIELD = "chat_template_kwargs"
NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


class Read(NamedTuple):
    """The conversation in a record."""

    format: Format
    messages: list[Message]
    opening: int
    """The number of messages before the conversation: the tools on offer and the system prompt."""
    more: list[tuple[int, Mapping[str, Any]]]
    """What messages have in the record besides what they say, each with the index of its message."""


def messages_of(record: Record, columns: Mapping[str, str] = NO_COLUMNS) -> tuple[str, list[Message]]:
    """Returns the name of the record's format, and its messages. RecordFault if no format fits."""
    found = read(record, columns)
    return found.format.name, found.messages


def read(record: Record, columns: Mapping[str, str] = NO_COLUMNS) -> Read:
    """Returns the record's format and conversation. RecordFault if no format fits, or if there is no text or user."""
    if columns:
        recognised = format_of(columns)
        record = with_paths(record, columns.values())
        refuse_absent(record, columns)
    else:
        record = respelled(record)
        recognised = _recognised_of(record)
    return read_as(recognised, record)


def read_as(recognised: Format, record: Record) -> Read:
    """Returns a record's conversation, read in this format. RecordFault if there is no text or no user."""
    opening = _opening(record, recognised)
    messages, more = list(opening), []
    try:
        for message, rest in recognised.spoken(record):
            if opening and not rest and len(messages) == len(opening) and message == opening[-1]:
                continue  # the system prompt, which a field of the record repeats
            if rest:
                more.append((len(messages), rest))
            messages.append(message)
    except RecordFault:
        if is_columns(record):
            raise RecordFault("wrong_type", TABLE) from None
        raise
    _refuse_incomplete(messages)
    return Read(recognised, messages, len(opening), more)


def _recognised_of(record: Record) -> Format:
    """The first format that fits a record. RecordFault if none does."""
    with_gaps = None
    for candidate in _candidates(tuple(record)):
        if candidate.fits is None or candidate.fits(record):
            if all(filled(record, field) for field in candidate.needs):
                return candidate
            with_gaps = with_gaps or candidate
    if with_gaps:
        return with_gaps
    raise no_format(record)


def _refuse_incomplete(messages: list[Message]) -> None:
    """RecordFault if there is no text at all, or no message of the user."""
    for message in messages:
        content = message["content"]
        if (content and not content.isspace()) or len(message) > 2:
            break
    else:
        raise RecordFault("empty_record", "the conversation has no text at all")
    for message in messages:
        if message["role"] == "user":
            return
    raise RecordFault("missing_field", "the conversation has no user message")


@lru_cache(SHAPES)
def _candidates(names: tuple[str, ...]) -> list[Format]:
    """The formats whose needed fields a record with these fields has. Most records of a file have the same fields."""
    return [candidate for candidate in FORMATS if candidate.needs <= set(names)]


def _opening(record: Record, recognised: Format) -> list[Message]:
    """Returns the messages before the conversation: the tools on offer and the system prompt."""
    opening: list[Message] = []
    for field in recognised.tools:
        if field in record and filled(record, field):
            tools = decoded(unpadded(record[field]), "[")
            opening.append({"role": "tools", "content": tools if isinstance(tools, str) else as_json(tools)})
    for field in recognised.system:
        if field in record and filled(record, field):
            opening.append({"role": "system", "content": "\n".join(content_of(record[field], field).texts)})
    return opening if opening or TEMPLATE_FIELD not in record else _given_to_the_template(record)


def _given_to_the_template(record: Record) -> list[Message]:
    """Returns the tools and the system prompt that a record gives to the chat template, as SmolTalk 2 does."""
    given = decoded(record[TEMPLATE_FIELD], "{")
    if not isinstance(given, dict):
        return []
    opening: list[Message] = []
    for tools in (given.get("xml_tools"), given.get("python_tools")):
        if isinstance(tools, list) and tools:
            opening.append({"role": "tools", "content": as_json([decoded(unpadded(each), "{") for each in tools])})
    if isinstance(prompt := given.get("custom_instructions"), str) and prompt.strip():
        opening.append({"role": "system", "content": prompt})
    return opening


def _chat(name: str, field: str) -> Format:
    repeats = {"prompt", "instruction", "response"}
    spoken = partial(conversation_in, field=field)
    return Format(name, {field}, spoken, chat=field, repeats=repeats, example="a list of messages")


def _turn(name: str, asked: str, response: str, context: str = "") -> Format:
    spoken = partial(single_turn, instruction=asked, context=context or None, response=response)
    also = {"history", *REASONING_FIELDS, *([context] if context else [])}
    return Format(name, {asked, response}, spoken, also, turn=(asked, context, response), example="texts")


def _sides(name: str, asked: str, response: str) -> Format:
    spoken = partial(two_sides, instruction=asked, response=response)
    turn = (asked, "", response)
    return Format(
        name,
        {asked, response},
        spoken,
        {"history", *REASONING_FIELDS},
        turn=turn,
        example="texts, or lists of messages",
    )


def _pair(needs: Set[str], spoken: Callable[[Record], Iterable[Spoken]], apart: str) -> Format:
    return Format("preference", needs, spoken, apart={apart}, example="two answers to one prompt")


def _rendered(name: str, field: str) -> Format:
    return Format(
        name,
        {field},
        partial(rendered, field=field),
        fits=partial(is_rendered, field=field),
        example="a text in which a chat template marks who speaks",
    )


FORMATS = (
    _pair({"chosen", "rejected"}, partial(pair, answer="chosen"), "rejected"),
    _pair({"messages", "rejected_response"}, partial(conversation_in, field="messages"), "rejected_response"),
    _pair({"messages", "rejected_messages"}, partial(conversation_in, field="messages"), "rejected_messages"),
    _chat("openai", "messages"),
    Format(
        "magpie",
        {"instruction", "response", "conversations"},
        partial(conversation_in, field="conversations"),
        apart={"instruction", "response"},
        repeats={"instruction", "response"},
        turn=("instruction", "", "response"),
        chat="conversations",
        example="a list of messages, and the texts of its first turn",
    ),
    _chat("sharegpt", "conversations"),
    _chat("sharegpt", "conversation"),
    _chat("sharegpt", "dialog"),
    _chat("sharegpt", "dialogue"),
    _turn("alpaca", "instruction", "output", "input"),
    _turn("dolly", "instruction", "response", "context"),
    Format(
        "xlam",
        {"query", "answers"},
        partial(calls_only, instruction="query", response="answers"),
        example="a question, and the calls that answer it",
    ),
    _turn("query-response", "query", "response"),
    _turn("openorca", "question", "response"),
    Format(
        "question-solution",
        {"question", "solution", "answer"},
        partial(single_turn, instruction="question", context=None, response="solution"),
        {"history", *REASONING_FIELDS},
        apart={"answer"},
        turn=("question", "", "solution"),
        example="texts; the solution is the response, and the answer its result",
    ),
    _turn("question-answer", "question", "answer"),
    _turn("problem-solution", "problem", "solution"),
    _sides("prompt-completion", "prompt", "completion"),
    _sides("prompt-completion", "prompt", "response"),
    _sides("input-output", "input", "output"),
    _turn("inputs-targets", "inputs", "targets"),
    _turn("input-target", "input", "target"),
    _chat("gemini", "contents"),
    _rendered("text", "text"),
    _rendered("text", "chat"),
)

REJECTED: Mapping[str, Callable[[Record], Iterable[Spoken]]] = {
    "rejected": partial(pair, answer="rejected"),
    "rejected_response": partial(other_answer, answer="rejected_response"),
    "rejected_messages": partial(other_answer, answer="rejected_messages"),
}
"""How the rejected answer is read, by the field that has it."""
