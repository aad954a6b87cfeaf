"""The formats of instruction data: from a record's fields to its messages.

The format of each record is recognised by the record's own fields. `FORMATS` lists the formats in order of precedence.
A format whose needed fields are all there and not null comes before one with a null among them.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cache, cached_property, partial
from types import MappingProxyType
from typing import NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.answers import refuse_preference
from jobs.engine.ingest.records.turns import conversation, prompt_completion, single_turn
from jobs.engine.ingest.records.values import Record, as_json, field_names, text_in
from operators.sample import Message

NO_COLUMNS: Mapping[str, str] = MappingProxyType({})

LISTS = ("messages", "conversations", "prompt", "completion", "response")


@dataclass(frozen=True)
class Format:
    """A format: the fields by which it is recognised, and how messages are read from them."""

    name: str
    needs: Set[str]
    messages: Callable[[Record], list[Message]]
    also: Set[str] = frozenset()
    """Optional fields, besides the needed ones, the tools and the system prompt."""
    system: str | None = "system"
    """The field of the system prompt."""

    @cached_property
    def holds(self) -> Set[str]:
        """The fields whose values become messages."""
        return frozenset({*self.needs, *self.also, "tools", *([self.system] if self.system else [])})

    @cached_property
    def lists(self) -> tuple[str, ...]:
        """The needed fields that may be lists of messages, in the order in which they are read."""
        return tuple(field for field in LISTS if field in self.needs)


class Read(NamedTuple):
    """The conversation in a record."""

    format: Format
    messages: list[Message]
    opening: int
    """The number of messages before the conversation: the tools on offer and the system prompt."""


def messages_of(record: Record, columns: Mapping[str, str] = NO_COLUMNS) -> tuple[str, list[Message]]:
    """Returns the name of the record's format, and its messages. RecordFault if no format fits."""
    found = read(record, columns)
    return found.format.name, found.messages


def read(record: Record, columns: Mapping[str, str] = NO_COLUMNS) -> Read:
    """Returns the record's format and conversation. RecordFault if no format fits, or if there is no text or user."""
    if columns:
        recognised = _of_columns(tuple(sorted(columns.items())))
        _refuse_absent(record, columns)
    else:
        recognised = _recognised(record)
    messages = recognised.messages(record)
    opening = _opening(record, recognised.system)
    if opening:
        messages = opening + messages
    _refuse_incomplete(messages)
    return Read(recognised, messages, len(opening))


def _recognised(record: Record) -> Format:
    with_null = None
    for candidate in FORMATS:
        if record.keys() >= candidate.needs:
            if not any(record[field] is None for field in candidate.needs):
                return candidate
            with_null = with_null or candidate
    if with_null:
        return with_null
    refuse_preference(record)
    needs = "; ".join(f"{candidate.name} needs {' and '.join(sorted(candidate.needs))}" for candidate in FORMATS)
    raise RecordFault(
        "missing_field",
        f"no format fits the fields found ({field_names(record)}): {needs}; "
        "or name the fields: --columns instruction=FIELD,response=FIELD",
    )


def _refuse_incomplete(messages: list[Message]) -> None:
    for message in messages:
        content = message["content"]
        if content and not content.isspace():
            break
    else:
        raise RecordFault("empty_record", "the conversation has no text at all")
    for message in messages:
        if message["role"] == "user":
            return
    raise RecordFault("missing_field", "the conversation has no user message")


def _opening(record: Record, system: str | None) -> list[Message]:
    """Returns the messages before the conversation: the tools on offer and the system prompt."""
    opening: list[Message] = []
    tools = record.get("tools")
    if tools:
        opening.append({"role": "tools", "content": tools if isinstance(tools, str) else as_json(tools)})
    if system is not None and record.get(system) is not None and (content := text_in(record, system)):
        opening.append({"role": "system", "content": content})
    return opening


@cache
def _of_columns(pairs: tuple[tuple[str, str], ...]) -> Format:
    """Returns the format of records whose fields the user named, as pairs of role and field."""
    columns = dict(pairs)
    instruction, response, context = columns["instruction"], columns["response"], columns.get("input")

    def messages(record: Record) -> list[Message]:
        plain = {key: value for key, value in record.items() if key != "history"}
        return single_turn(plain, instruction=instruction, context=context, response=response)

    return Format("columns", {instruction, response}, messages, {context} if context else set(), columns.get("system"))


def _refuse_absent(record: Record, columns: Mapping[str, str]) -> None:
    for role in ("instruction", "response"):
        if columns[role] not in record:
            found = f"there is no field {columns[role]!r} for the {role}; found: {field_names(record)}"
            raise RecordFault("missing_field", found)


FORMATS = (
    Format("openai", {"messages"}, partial(conversation, field="messages")),
    Format("sharegpt", {"conversations"}, partial(conversation, field="conversations")),
    Format(
        "alpaca",
        {"instruction", "output"},
        partial(single_turn, instruction="instruction", context="input", response="output"),
        {"input", "history"},
    ),
    Format(
        "dolly",
        {"instruction", "response"},
        partial(single_turn, instruction="instruction", context="context", response="response"),
        {"context", "history"},
    ),
    Format(
        "query-response",
        {"query", "response"},
        partial(single_turn, instruction="query", context=None, response="response"),
        {"history"},
    ),
    Format(
        "prompt-completion", {"prompt", "completion"}, partial(prompt_completion, response="completion"), {"history"}
    ),
    Format("prompt-completion", {"prompt", "response"}, partial(prompt_completion, response="response"), {"history"}),
)
