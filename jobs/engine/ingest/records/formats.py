"""The formats of instruction data: from a record's fields to its messages.

The format of each record is recognised by the values of its own fields. `FORMATS` lists the formats in order of
precedence. A format whose needed fields all hold something comes before one with a null or an empty value among them.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cache, cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.messages import REASONING_FIELDS, Spoken, conversation
from jobs.engine.ingest.records.preferences import other_answer, pair
from jobs.engine.ingest.records.turns import calls_only, single_turn, two_sides
from jobs.engine.ingest.records.values import Record, as_json, decoded, field_names, filled, text_in
from operators.sample import Message

NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
NAMED = 4
"""The number of formats that a message names."""
SYSTEM_FIELDS, TOOL_FIELDS = ("system", "system_prompt"), ("tools", "functions")


@dataclass(frozen=True)
class Format:
    """A format: the fields by which it is recognised, and how messages are read from them."""

    name: str
    needs: Set[str]
    spoken: Callable[[Record], Iterable[Spoken]]
    also: Set[str] = frozenset()
    """Optional fields, besides the needed ones, the tools and the system prompt."""
    system: tuple[str, ...] = SYSTEM_FIELDS
    """The fields that may have a system prompt."""
    tools: tuple[str, ...] = TOOL_FIELDS
    """The fields that may have the tools on offer."""
    apart: Set[str] = frozenset()
    """Needed fields that are no part of the conversation."""
    repeats: Set[str] = frozenset()
    """Fields that add nothing where a message has the same text."""
    turn: tuple[str, str, str] | None = None
    """The fields of the instruction, of its context (empty for none) and of the response."""
    chat: str | None = None
    """The field that holds all messages."""
    example: str = ""
    """What a record looks like, for the documentation."""

    @cached_property
    def holds(self) -> Set[str]:
        """The fields whose values become messages."""
        return frozenset({*self.needs, *self.also, *self.system, *self.tools} - self.apart)


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
        recognised = _of_columns(tuple(sorted(columns.items())))
        record = _with_paths(record, columns.values())
        _refuse_absent(record, columns)
    else:
        recognised = _recognised_of(record)
    return read_as(recognised, record)


def read_as(recognised: Format, record: Record) -> Read:
    """Returns a record's conversation, read in this format. RecordFault if there is no text or no user."""
    opening = _opening(record, recognised)
    messages, more = list(opening), []
    for message, rest in recognised.spoken(record):
        if rest:
            more.append((len(messages), rest))
        messages.append(message)
    _refuse_incomplete(messages)
    return Read(recognised, messages, len(opening), more)


def _recognised_of(record: Record) -> Format:
    """The first format that fits a record. RecordFault if none does."""
    with_gaps = None
    for candidate in FORMATS:
        if record.keys() >= candidate.needs:
            if all(filled(record, field) for field in candidate.needs):
                return candidate
            with_gaps = with_gaps or candidate
    if with_gaps:
        return with_gaps
    raise RecordFault(
        "missing_field",
        f"no format fits the fields found ({field_names(record)}); name yours, "
        "--columns instruction=FIELD,response=FIELD or "
        f"--columns messages=FIELD, or use those of a format: {_nearest(record)}; docs/formats.md has all",
    )


def _nearest(record: Record) -> str:
    """The needs of the formats that share the most fields with a record."""
    near = sorted(FORMATS, key=lambda each: (-len(each.needs & record.keys()), each.name == "preference"))
    return "; ".join(f"{each.name} needs {' and '.join(sorted(each.needs))}" for each in near[:NAMED])


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


def _opening(record: Record, recognised: Format) -> list[Message]:
    """Returns the messages before the conversation: the tools on offer and the system prompt."""
    opening: list[Message] = []
    for field in recognised.tools:
        if filled(record, field):
            tools = decoded(record[field], "[")
            opening.append({"role": "tools", "content": tools if isinstance(tools, str) else as_json(tools)})
    for field in recognised.system:
        if filled(record, field):
            opening.append({"role": "system", "content": text_in(record, field)})
    return opening


@cache
def _of_columns(pairs: tuple[tuple[str, str], ...]) -> Format:
    """Returns the format of records whose fields the user named, as pairs of role and field."""
    columns = dict(pairs)
    system = (columns["system"],) if "system" in columns else ()
    tools = (columns["tools"],) if "tools" in columns else TOOL_FIELDS
    if "messages" in columns:
        field = columns["messages"]
        spoken = partial(_field_conversation, field=field)
        return Format("columns", {field}, spoken, system=system, tools=tools, chat=field)
    asked, response, context = columns["instruction"], columns["response"], columns.get("input")

    def one_turn(record: Record) -> Iterable[Spoken]:
        plain = {key: value for key, value in record.items() if key != "history"}
        return single_turn(plain, instruction=asked, context=context, response=response)

    also = {*REASONING_FIELDS, *([context] if context else [])}
    turn = (asked, context or "", response)
    return Format("columns", {asked, response}, one_turn, also, system=system, tools=tools, turn=turn)


def _refuse_absent(record: Record, columns: Mapping[str, str]) -> None:
    for role in ("messages",) if "messages" in columns else ("instruction", "response"):
        if columns[role] not in record:
            found = f"there is no field {columns[role]!r} for the {role}; found: {field_names(record)}"
            raise RecordFault("missing_field", found)


def _field_conversation(record: Record, field: str) -> Iterable[Spoken]:
    return conversation(record[field], field)


def _with_paths(record: Record, paths: Iterable[str]) -> Record:
    """A record that also has, by their whole names, the values at these paths, such as `data.messages`.

    A field whose own name has the dot comes before the path.
    """
    found = {}
    for path in paths:
        if "." in path and path not in record:
            value: Any = record
            for name in path.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                found[path] = value
    return {**record, **found} if found else record


def _chat(name: str, field: str) -> Format:
    repeats = {"prompt", "instruction", "response"}
    spoken = partial(_field_conversation, field=field)
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


FORMATS = (
    _pair({"chosen", "rejected"}, partial(pair, answer="chosen"), "rejected"),
    _pair({"messages", "rejected_response"}, partial(_field_conversation, field="messages"), "rejected_response"),
    _pair({"messages", "rejected_messages"}, partial(_field_conversation, field="messages"), "rejected_messages"),
    _chat("openai", "messages"),
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
    _turn("question-answer", "question", "answer"),
    _turn("problem-solution", "problem", "solution"),
    _sides("prompt-completion", "prompt", "completion"),
    _sides("prompt-completion", "prompt", "response"),
    _sides("input-output", "input", "output"),
)

REJECTED: Mapping[str, Callable[[Record], Iterable[Spoken]]] = {
    "rejected": partial(pair, answer="rejected"),
    "rejected_response": other_answer,
    "rejected_messages": other_answer,
}
"""How the rejected answer is read, by the field that has it."""
