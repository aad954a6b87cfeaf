"""The hashes of a record: of its messages, of the whole record, and of what makes it a duplicate.

Records are duplicates if they are equal in everything that training, a judge or a reader could look at. That is the
messages and all other fields, except those that only say where the record comes from. A field that is null counts as
absent. The order of the fields, the spelling of a number and the format of the conversation make no difference.
"""

import hashlib
import json
from collections.abc import Set
from typing import Any, NamedTuple

from jobs.engine.ingest.records.conversations import Rejected
from jobs.engine.ingest.records.formats import Read
from jobs.engine.ingest.records.values import Record
from jobs.engine.ingest.settings import BOOKKEEPING
from operators.sample import text_sha

WHOLE_FLOATS = 2.0**53
"""Below it a float without a fraction is exactly the integer that it looks like."""

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

Extras = list[tuple[int, dict[str, Any]]]


class Hashes(NamedTuple):
    """Three hashes of a record, of 16 bytes each. They are equal if the record has no more than its messages."""

    text: bytes
    """Of the messages: operators.sample.text_sha."""
    record: bytes
    """Of the whole record: stored values that were computed from any of its fields are found by it."""
    kind: bytes
    """Of the record without bookkeeping fields: records with the same hash are duplicates."""


def hashes(
    record: Record,
    found: Read,
    raw: bytes,
    bookkeeping: Set[str] = BOOKKEEPING,
    *,
    rejected: Rejected | None = None,
    label: tuple[str, bool] | None = None,
) -> Hashes:
    """Returns the hashes of a record that was read as `found` from the JSON text `raw`.

    The rejected answer and the label count by what they say, in whatever form and field the record has them.
    """
    text = text_sha(found.messages, record)
    holds = found.format.holds
    extras = [(place, dict(more)) for place, more in found.more]
    if not extras and record.keys() <= holds:
        return Hashes(text, text, text)
    repeated = {*_repeated(record, found), *((rejected.field,) if rejected else ()), *(label[:1] if label else ())}
    fields, aside = {}, {}
    for name, value in record.items():
        if value is not None and name not in holds and name not in repeated:
            (aside if name.lower() in bookkeeping else fields)[name] = value
    said = _without(extras, bookkeeping)
    beside = _beside(rejected, label, bookkeeping)
    kind = _digest(text, [fields, said, *beside], raw) if fields or said or beside else text
    # The whole is hashed on top of the kind, so that no field is encoded twice.
    whole = _digest(kind, [aside, extras], raw) if aside or said != extras else kind
    return Hashes(text, whole, kind)


def _beside(rejected: Rejected | None, label: tuple[str, bool] | None, bookkeeping: Set[str]) -> list[Any]:
    """Returns what the rejected answer and the label say; nothing where there are none."""
    if rejected is None:
        return [label[1]] if label else []
    extras = [(place, dict(more)) for place, more in rejected.more]
    return [rejected.messages, _without(extras, bookkeeping)]


def _repeated(record: Record, found: Read) -> Set[str]:
    """Returns the fields that say what a message says already."""
    names = found.format.repeats & record.keys()
    if not names:
        return names
    texts = {message["content"] for message in found.messages}
    return {name for name in names if isinstance(record[name], str) and record[name] in texts}


def _without(extras: Extras, bookkeeping: Set[str]) -> Extras:
    kept = [
        (at, {name: value for name, value in extra.items() if name.lower() not in bookkeeping}) for at, extra in extras
    ]
    return [(at, extra) for at, extra in kept if extra]


def _digest(before: bytes, rest: list[Any], raw: bytes) -> bytes:
    try:
        text = ENCODER.encode(_canonical(rest)).encode()
    except ValueError:  # a number that no float holds: it is compared by its digits
        text = raw
    return hashlib.sha256(before + text).digest()[:16]


def _canonical(value: Any) -> Any:
    """Returns the value without null fields, and with whole numbers as integers."""
    if isinstance(value, dict):
        return {
            name: inner if type(inner) is str else _canonical(inner)
            for name, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE_FLOATS:
        return int(value)
    return value
