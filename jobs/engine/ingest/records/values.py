"""The values of a record: texts, and the names by which messages call other values."""

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from jobs.engine.ingest.faults import RecordFault

Record = Mapping[str, Any]

CHOICES = {"choices", "options"}
EMPTY = (None, "", [], {})
LITERAL = re.compile(r"\s*(?:\[\s*)?[\[({]\s*['\"]")


def filled(record: Record, field: str) -> bool:
    """Whether a field holds something. A null, an empty text and an empty list are as good as no field."""
    return record.get(field) not in EMPTY


def filled_names(record: Record) -> set[str]:
    """The fields that hold something."""
    return {name for name in record if filled(record, name)}


def text_in(record: Record, field: str, where: str | None = None) -> str:
    """The text in a field. A number in place of a text is its digits, unless it counts choices beside it."""
    value = record.get(field)
    if isinstance(value, str):
        return value
    if is_number(value) and not record.keys() & CHOICES:
        return as_json(value)
    if is_number(value):
        counted = ", ".join(sorted(record.keys() & CHOICES))
        raise RecordFault(
            "wrong_type", f"{where or field} is a number, which counts the {counted}; write the answer as text"
        )
    raise wrong_type(where or field, value, "a string")


def is_number(value: Any) -> bool:
    """Whether a value is a number that JSON can write."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decoded(value: Any, opening: str) -> Any:
    """The value that a string holds as JSON, where it begins with this bracket; any other value unchanged.

    Exports that know no nested values write them as JSON, such as those of csv tools.
    """
    if isinstance(value, str) and value.lstrip()[:1] == opening:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def literal(value: Any) -> Any:
    """The list or object that a string holds as Python, and pandas in csv files, write it; other values unchanged."""
    if isinstance(value, str) and LITERAL.match(value):
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    return value


def wrong_type(where: str, value: Any, expected: str) -> RecordFault:
    return RecordFault("wrong_type", f"{where} is {type_name(value)}, expected {expected}")


def type_name(value: Any) -> str:
    """The JSON type of a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def field_names(record: Record) -> str:
    """Returns the field names of a record for a message, shortened where they are very many or very long."""
    if not record:
        return "none"
    shown = [str(name)[:60] for name in list(record)[:20]]
    return ", ".join(shown) + (f" and {len(record) - 20} more" if len(record) > 20 else "")


def unpadded(value: Any) -> Any:
    """Returns a value without the null fields of its objects: Arrow gives each object the fields of all others."""
    if isinstance(value, dict):
        return {name: unpadded(inner) for name, inner in value.items() if inner is not None}
    return [unpadded(inner) for inner in value] if isinstance(value, list) else value


def shown(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str) else type_name(value)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
