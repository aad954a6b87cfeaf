"""The conversations of a record: one, or one for each answer of a pair and for each path of a tree."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.format import Format
from jobs.engine.ingest.records.formats import REJECTED, Read, read, read_as
from jobs.engine.ingest.records.openai import openai_message
from jobs.engine.ingest.records.preferences import LABELS, TAG, desire, prompt_fields, rejected_in, respelled
from jobs.engine.ingest.records.trees import is_tree, paths
from jobs.engine.ingest.records.values import Record, filled
from jobs.engine.ingest.settings import IngestSettings
from operators.sample import Message

SET_ASIDE = ("skipped_pair", "undesired", "contaminated", "over_share")
"""The kinds of records that can be read and are not wanted."""


class Rejected(NamedTuple):
    """The rejected answer of a pair."""

    field: str
    """The field that has it; empty where that holds more than this answer."""
    messages: list[Message]
    more: list[tuple[int, Mapping[str, Any]]]
    """What its messages have in the record besides what they say, each with the index of its message."""


class Found(NamedTuple):
    """A conversation, and the record that it is in."""

    record: Record
    read: Read
    made: bytes | None = None
    """The JSON text of that record, where it was made for this one conversation."""
    rejected: Rejected | None = None
    label: tuple[str, bool] | None = None
    """The field that says whether the answer is desired, and what it says."""


def conversations(record: Record, settings: IngestSettings) -> Iterator[Found]:
    """Gives the conversations that a record has. RecordFault if there is none, or if the settings do not want it."""
    if not settings.columns:
        if is_tree(record):
            yield from _paths(record)
            return
        record = respelled(record)
    found = read(record, settings.columns)
    field = next((name for name in REJECTED if name in found.format.apart), None)
    label = None if field else desire(record, _labels(found.format))
    if field is None and (label is None or settings.answers != "needed"):
        yield Found(record, found, label=label)
        return
    if settings.pairs == "skip":
        raise RecordFault("skipped_pair", "a preference record; --pairs chosen takes its better answer")
    if field is None:
        if label and not label[1] and settings.pairs == "chosen":
            raise RecordFault("undesired", f"{label[0]} says that the answer is not desired; --pairs both takes it too")
        yield Found(record, found, label=label)
        return
    others = rejected_in(record, field)
    asked = prompt_fields(record, "chosen") if "chosen" in record else frozenset()
    beside = {name: value for name, value in record.items() if name not in asked}
    yield Found(beside, found, rejected=_rejected(others, field, found))
    if settings.pairs == "both":
        for each in others:
            yield _made(beside, _other(each, field, found), {"chosen": False}, found.format.needs)


def _labels(recognised: Format) -> Sequence[str]:
    """The fields that are a label of KTO beside records of this format; `label` is a class beside others."""
    return LABELS if recognised.chat is not None or recognised.name == "prompt-completion" else (TAG,)


def _other(record: Record, field: str, found: Read) -> Read:
    return read_as(Format(found.format.name, {field}, REJECTED[field]), record)


def _rejected(others: Sequence[Record], field: str, found: Read) -> Rejected | None:
    """The first rejected answer: what follows the messages that both conversations have. None if there is none.

    One that cannot be read stays in the record, and is no reason to refuse the chosen answer.
    """
    if not others:
        return None
    try:
        messages, more = (other := _other(others[0], field, found)).messages, other.more
    except RecordFault:
        return None
    same = takewhile(lambda both: both[0] == both[1], zip(found.messages[:-1], messages, strict=False))
    begin = len(list(same))
    return Rejected(
        field if len(others) == 1 else "",
        messages[begin:],
        [(place - begin, rest) for place, rest in more if place >= begin],
    )


def _paths(record: Record) -> Iterator[Found]:
    about = {name: value for name, value in record.items() if name != "prompt" and filled(record, name)}
    for path in paths(record):
        spoken = path.spoken
        tree = read_as(Format("oasst", {"prompt"}, lambda _, spoken=spoken: spoken), {"prompt": record["prompt"]})
        yield _made(about, tree, path.answer, {"prompt"})


def _made(record: Record, found: Read, more: Mapping[str, Any], without: Any) -> Found:
    """Returns a conversation with a record of its own: the messages, and the other fields of the record."""
    others = {name: value for name, value in record.items() if name not in without}
    made = {**others, **more, "messages": [openai_message(each) for each in found.messages]}
    return Found({**others, **more}, found, _encoded(made))


def _encoded(record: Record) -> bytes:
    """Returns the record as JSON; in ASCII where a field has half of a surrogate pair, which UTF-8 cannot hold."""
    try:
        return json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(record).encode()
