"""The format of records whose fields the user named with --columns, by names or by paths such as `data.messages`."""

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.format import TOOL_FIELDS, Format
from jobs.engine.ingest.records.messages import REASONING_FIELDS, Spoken, conversation_in
from jobs.engine.ingest.records.turns import single_turn
from jobs.engine.ingest.records.values import Record, field_names


def format_of(columns: Mapping[str, str]) -> Format:
    """Returns the format of records with the field of each role."""
    return _of_columns(tuple(sorted(columns.items())))


@cache
def _of_columns(pairs: tuple[tuple[str, str], ...]) -> Format:
    """Returns the format of records whose fields the user named, as pairs of role and field."""
    columns = dict(pairs)
    system = (columns["system"],) if "system" in columns else ()
    tools = (columns["tools"],) if "tools" in columns else TOOL_FIELDS
    if "messages" in columns:
        field = columns["messages"]
        spoken = partial(conversation_in, field=field)
        return Format("columns", {field}, spoken, system=system, tools=tools, chat=field)
    asked, response, context = columns["instruction"], columns["response"], columns.get("input")
    thoughts = (columns["reasoning"],) if "reasoning" in columns else REASONING_FIELDS

    def one_turn(record: Record) -> Iterable[Spoken]:
        plain = {key: value for key, value in record.items() if key != "history"}
        return single_turn(plain, instruction=asked, context=context, response=response, reasoning=thoughts)

    also = {*thoughts, *([context] if context else [])}
    turn = (asked, context or "", response)
    return Format("columns", {asked, response}, one_turn, also, system=system, tools=tools, turn=turn)


def refuse_absent(record: Record, columns: Mapping[str, str]) -> None:
    """RecordFault if a record lacks a named field that it needs."""
    for role in ("messages",) if "messages" in columns else ("instruction", "response"):
        if columns[role] not in record:
            found = f"there is no field {columns[role]!r} for the {role}; found: {field_names(record)}"
            raise RecordFault("missing_field", found)


def with_paths(record: Record, paths: Iterable[str]) -> Record:
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
