"""The calls of tools, in one form for all the ways in which records write them."""

import json
from collections.abc import Sequence
from typing import Any

from jobs.engine.ingest.records.values import Record, as_json, decoded, unpadded

ARGUMENTS = ("arguments", "parameters", "input", "args")
IDS = ("id", "call_id")


def calls_in(values: Sequence[Any]) -> str | None:
    """Returns calls as a JSON list of {"name", "arguments"}, each with its "id" and other fields where it has them.

    values: calls, lists of calls, or the JSON texts of either. A call without a name stays as it is. The result is
    empty where there are none, and None where one is a text that is no JSON, which is then what the assistant says.
    """
    calls: list[Any] = []
    for value in values:
        found = decoded(decoded(value, "["), "{")
        if isinstance(found, str):
            return None
        calls += found if isinstance(found, list) else [found]
    return as_json([_call(each) for each in calls]) if calls else ""


def _call(call: Any) -> Any:
    call = decoded(call, "{")
    if not isinstance(call, dict):
        return call
    function = call.get("function")
    inner: Record = function if isinstance(function, dict) else call
    if not isinstance(inner.get("name"), str):
        return call
    given = next((name for name in ARGUMENTS if inner.get(name) is not None), None)
    identity = next((name for name in IDS if call.get(name) is not None), None)
    known = {"name", "type", given, identity, *(["function"] if inner is not call else [])}
    others = {name: each for name, each in {**call, **inner}.items() if name not in known and each is not None}
    if call.get("type") not in (None, "function", "tool_use", "tool_call", "function_call"):
        others["type"] = call["type"]
    return {
        **({"id": call[identity]} if identity else {}),
        "name": inner["name"],
        **({"arguments": _arguments(inner[given])} if given else {}),
        **others,
    }


def _arguments(value: Any) -> Any:
    """Returns the arguments as an object, where they are one or the JSON text of one. Only a text can say null."""
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, dict) else value
    return unpadded(value)
