"""From the bytes of a record to a sample: strict JSON, the limits, and the messages of the format."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault, over
from jobs.engine.ingest.records.answers import refuse_unanswered
from jobs.engine.ingest.records.formats import read
from jobs.engine.ingest.records.hashes import Hashes, hashes
from jobs.engine.ingest.settings import IngestSettings
from operators.sample import Message

STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
STRING_OR_BLACK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^" \t\r\n]+', re.DOTALL)
STRING_OR_CONSTANT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(-?Infinity|NaN)', re.DOTALL)
BRACKET = re.compile(rb"[\[\]{}]")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

# int() refuses longer numerals (sys.int_info.default_max_str_digits); no field that is read holds one.
LONGEST_INTEGER = 4000


class _NanLiteral(Exception):
    pass


def _refuse_constant(_: str) -> None:
    raise _NanLiteral


def _number(numeral: str) -> int | float:
    return int(numeral) if len(numeral) < LONGEST_INTEGER else float(numeral)


class _TwoValues(Exception):
    """A key of an object has two different values."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object of these pairs. _TwoValues if a key has two values, of which one would be lost."""
    made = dict(pairs)
    if len(made) < len(pairs):
        for key, value in pairs:
            if type(value) is not type(made[key]) or value != made[key]:
                raise _TwoValues(key)
    return made


DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_number, object_pairs_hook=_unique)


class Sample(NamedTuple):
    """A record that was read: the name of its format, its messages and its hashes."""

    format: str
    messages: list[Message]
    hashes: Hashes


def sample_of(raw: bytes, settings: IngestSettings, opaque: Sequence[str] = ()) -> Sample:
    """Returns the sample of a record's JSON text. RecordFault says why there is none.

    opaque: the fields that hold bytes and not text.
    """
    record = record_of(raw, settings.max_nesting)
    found = read(record, settings.columns)
    for field in opaque:
        if field in found.format.holds:
            raise RecordFault("invalid_utf8", f"column {field!r} holds bytes that are not UTF-8, so they are no text")
    if len(found.messages) > settings.max_turns:
        _refuse_turns(found.messages, settings.max_turns)
    if b"\\u" in raw and SURROGATE.search(raw):
        _refuse_surrogates(found.messages)
    if settings.answers == "needed":
        refuse_unanswered(record, found.messages)
    return Sample(found.format.name, found.messages, hashes(record, found, raw, settings.bookkeeping))


def record_of(raw: bytes, max_nesting: int) -> dict[str, Any]:
    """Returns the object of a JSON text. RecordFault if it is not strict JSON, not an object, or nested too deeply."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} is not UTF-8 ({error.reason})"
        raise RecordFault("invalid_utf8", found) from None
    _refuse_depth(raw, max_nesting)
    try:
        record = DECODER.decode(text)
    except _NanLiteral:
        literal = next(match for match in STRING_OR_CONSTANT.finditer(text) if match.group(1))
        found = f"{literal.group(1)} at column {literal.start(1) + 1} is not JSON; null would be"
        raise RecordFault("nan_literal", found) from None
    except _TwoValues as error:
        found = f"the field {error.args[0]!r} is there twice, with two values"
        raise RecordFault("duplicate_key", found) from None
    except RecursionError:
        raise RecordFault("too_deep", "the record is nested deeper than can be read") from None
    except ValueError as error:
        where = getattr(error, "pos", 0) + 1
        found = str(getattr(error, "msg", error)).removesuffix(" at")
        raise RecordFault("malformed_json", f"{found} at column {where}") from None
    if not isinstance(record, dict):
        kind = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(record), "a number")
        raise RecordFault("not_an_object", f"the record is {kind}, expected an object with named fields")
    return record


def compact(raw: bytes) -> bytes:
    """Returns a valid JSON text on one line, without the white space between tokens.

    >>> compact(b'{ "a b" : [1.0,\\n 1e5] }')
    b'{"a b":[1.0,1e5]}'
    """
    return b"".join(STRING_OR_BLACK.findall(raw))


def _refuse_depth(raw: bytes, limit: int) -> None:
    """RecordFault above the limit. It is checked before parsing, as a parser recurses as deep as the record is."""
    if raw.count(b"{") + raw.count(b"[") <= limit:
        return
    deepest = depth = 0
    for bracket in BRACKET.findall(STRING.sub(b"", raw)):
        depth += 1 if bracket in b"{[" else -1
        deepest = max(deepest, depth)
    if deepest > limit:
        raise RecordFault("too_deep", f"the record is nested {deepest:,} deep, {over('max_nesting', limit)}")


def _refuse_turns(messages: list[Message], limit: int) -> None:
    roles = [message["role"] for message in messages]
    turns = max(roles.count("user"), roles.count("assistant"))
    if turns > limit:
        raise RecordFault("too_many_turns", f"the conversation has {turns:,} turns, {over('max_turns', limit)}")


def _refuse_surrogates(messages: list[Message]) -> None:
    for position, message in enumerate(messages):
        try:
            message["content"].encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(message["content"][error.start])
            found = f"message {position + 1} ({message['role']}) has half of a surrogate pair, \\u{code:04x}"
            raise RecordFault("lone_surrogate", f"{found}, which UTF-8 cannot hold") from None
