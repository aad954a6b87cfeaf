"""From the bytes of a record to a sample: JSON, the limits, and the messages of the format."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault, over
from jobs.engine.ingest.records.answers import refuse_unanswered
from jobs.engine.ingest.records.contents import media_in
from jobs.engine.ingest.records.conversations import Found, conversations
from jobs.engine.ingest.records.hashes import Hashes, hashes
from jobs.engine.ingest.records.messages import is_message
from jobs.engine.ingest.records.values import type_name
from jobs.engine.ingest.settings import IngestSettings
from operators.sample import MORE, Message

# A string that is not closed goes on to the end: else each quote in it would be tried as the beginning of one.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
STRING_OR_BLACK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^" \t\r\n]+', re.DOTALL)
BRACKET = re.compile(rb"[\[\]{}]")
PYTHON = re.compile(r"\s*\{\s*'")
HAN = re.compile("[\u4e00-\u9fff]{2}")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

# int() refuses longer numerals (sys.int_info.default_max_str_digits); no field that is read holds one.
LONGEST_INTEGER = 4000


def _constant(literal: str) -> float | None:
    """What a literal that is not JSON stands for: NaN is how pandas writes that there is no value."""
    return None if literal == "NaN" else float(literal)


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


DECODER = json.JSONDecoder(parse_constant=_constant, parse_int=_number, object_pairs_hook=_unique)


class Sample(NamedTuple):
    """A conversation that was read in a record: the name of its format, its messages and its hashes."""

    format: str
    messages: list[Message]
    hashes: Hashes
    media: Counter[str]
    """The number of images, audios and videos, which stay in the record."""
    rejected: list[Message] | None = None
    """The rejected answer of a pair."""
    label: bool | None = None
    """Whether the answer is desired, where the record says so."""
    raw: bytes | None = None
    """The JSON text of the conversation, where the record has several; None for the record as it is."""


def samples_of(raw: bytes, settings: IngestSettings, opaque: Sequence[str] = ()) -> list[Sample]:
    """Returns the samples of a record's JSON text, nearly always one. RecordFault says why there is none.

    opaque: the fields that hold bytes and not text.
    """
    record = record_of(raw, settings.max_nesting)
    try:
        return [_sample(each, settings, raw, opaque) for each in conversations(record, settings)]
    except RecursionError:  # in JSON that a text of the record holds, of which the limit knows nothing
        raise RecordFault("too_deep", "a text of the record holds JSON nested deeper than can be read") from None


def _sample(found: Found, settings: IngestSettings, raw: bytes, opaque: Sequence[str]) -> Sample:
    record, read, made, rejected, label = found
    for field in opaque:
        if field in read.format.holds:
            raise RecordFault("invalid_utf8", f"column {field!r} holds bytes that are not UTF-8, so they are no text")
    if len(read.messages) > settings.max_turns:
        _refuse_turns(read.messages, settings.max_turns)
    if b"\\u" in raw and SURROGATE.search(raw):
        _refuse_surrogates(read.messages + (rejected.messages if rejected else []))
    if settings.answers == "needed":
        refuse_unanswered(read.messages)
    said = raw if made is None else made
    made_of = hashes(record, read, said, settings.bookkeeping, rejected=rejected, label=label)
    media = media_in(record, read.more)
    answer = rejected.messages if rejected else None
    return Sample(read.format.name, read.messages, made_of, media, answer, label[1] if label else None, made)


def record_of(raw: bytes, max_nesting: int) -> dict[str, Any]:
    """Returns the object of a JSON text. RecordFault if it is not JSON, not an object, or nested too deeply."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = (
            f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} is not UTF-8 ({error.reason}): {_converted(raw)}"
        )
        raise RecordFault("invalid_utf8", found) from None
    _refuse_depth(raw, max_nesting)
    try:
        record = DECODER.decode(text)
    except _TwoValues as error:
        found = f"the field {error.args[0]!r} is there twice, with two values"
        raise RecordFault("duplicate_key", found) from None
    except RecursionError:
        raise RecordFault("too_deep", "the record is nested deeper than can be read") from None
    except ValueError as error:
        where = getattr(error, "pos", 0) + 1
        found = str(getattr(error, "msg", error)).removesuffix(" at")
        python = "; it is written as Python does, and not as json.dumps" if PYTHON.match(text) else ""
        raise RecordFault("malformed_json", f"{found} at column {where}{python}") from None
    if isinstance(record, list) and record and (is_message(record[0]) or isinstance(record[0], str)):
        return {"messages": record}  # a bare conversation
    if not isinstance(record, dict):
        raise RecordFault("not_an_object", f"the record is {type_name(record)}, expected an object with named fields")
    return record


def _converted(raw: bytes) -> str:
    """Returns what to do with a text that is not UTF-8."""
    try:
        chinese = HAN.search(raw.decode("gb18030"))
    except UnicodeDecodeError:
        chinese = None
    return f"save the file as UTF-8, for example with iconv -f {'gb18030' if chinese else 'latin1'} -t utf-8"


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
            "".join(filter(None, (message["content"], *map(message.get, MORE)))).encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(error.object[error.start])
            found = f"message {position + 1} ({message['role']}) has half of a surrogate pair, \\u{code:04x}"
            raise RecordFault("lone_surrogate", f"{found}, which UTF-8 cannot hold") from None
