"""The conversations of a record: one, or one for each answer of a pair and for each path of a tree."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.formats import REJECTED, Format, Read, read, read_as
from jobs.engine.ingest.records.openai import openai_message
from jobs.engine.ingest.records.preferences import undesired
from jobs.engine.ingest.records.trees import is_tree, paths
from jobs.engine.ingest.records.values import Record, filled
from jobs.engine.ingest.settings import IngestSettings

LABELS = ("label", "kto_tag")
"""The fields that say whether the one answer of a record is desired."""

SET_ASIDE = ("skipped_pair", "undesired", "contaminated", "over_share")
"""The kinds of records that can be read and are not wanted."""


class Found(NamedTuple):
    """A conversation, and the record that it is in."""

    record: Record
    read: Read
    made: bytes | None = None
    """The JSON text of that record, where it was made for this one conversation."""


def conversations(record: Record, settings: IngestSettings) -> Iterator[Found]:
    """Gives the conversations that a record has. RecordFault if there is none, or if the settings do not want it."""
    if not settings.columns and is_tree(record):
        yield from _paths(record)
        return
    found = read(record, settings.columns)
    rejected = next((name for name in REJECTED if name in found.format.apart), None)
    label = next((name for name in LABELS if name in record), None) if settings.answers == "needed" else None
    if rejected is None and not (label and _is_desire(record, label, found.format)):
        yield Found(record, found)
        return
    if settings.pairs == "skip":
        raise RecordFault("skipped_pair", "a preference record; --pairs chosen takes its better answer")
    if rejected is None:
        if settings.pairs == "chosen" and undesired(record, label or ""):
            raise RecordFault("undesired", f"{label} says that the answer is not desired; --pairs both takes it too")
        yield Found(record, found)
        return
    yield Found(record, found)
    if settings.pairs == "both":
        other = read_as(Format(found.format.name, {rejected}, REJECTED[rejected]), record)
        yield _made(record, other, {"chosen": False}, found.format.needs)


def _is_desire(record: Record, label: str, recognised: Format) -> bool:
    """Whether a label is that of KTO: true or false, beside a conversation, and not a class that is to be learned."""
    return isinstance(record[label], bool) and (recognised.chat is not None or recognised.name == "prompt-completion")


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
    text = json.dumps(made, ensure_ascii=False)
    return Found({**others, **more}, found, text.encode("utf-8", "surrogatepass"))
