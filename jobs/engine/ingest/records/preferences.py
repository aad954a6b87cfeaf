"""Preference records: a prompt with a chosen and a rejected answer, or one answer with the label that it is desired.

{"prompt": …, "chosen": …, "rejected": …}                 texts or lists of messages (TRL)
{"chosen": [user, assistant], "rejected": […]}            the prompt is in both (TRL's implicit prompt)
{"conversations": […], "chosen": {…}, "rejected": {…}}    LLaMA-Factory
{"messages": […], "rejected_response": "…"}               ms-swift: the messages have the chosen answer
{"prompt": …, "completion": …, "label": true}             one answer, desired or not (KTO)
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.messages import NO_MORE, Spoken, conversation, is_message
from jobs.engine.ingest.records.turns import history, side
from jobs.engine.ingest.records.values import Record, decoded, field_names, filled, text_in

ASKED_IN = ("instruction", "question", "query", "input")
CHATS_IN = ("messages", "conversations", "conversation")
REJECTED_IN = ("rejected_response", "rejected_messages")
SPEAKER = re.compile(r"\n\n(Human|Assistant): ?")


def pair(record: Record, *, answer: str) -> Iterator[Spoken]:
    """Gives the conversation that ends with this answer, which is the field `chosen` or `rejected`."""
    value = decoded(decoded(record[answer], "["), "{")
    if isinstance(value, list) and _is_whole(value):
        yield from conversation(value, answer)
    elif isinstance(value, str) and not filled(record, "prompt") and SPEAKER.match(value):
        yield from _transcript(value)
    else:
        yield from _prompt(record)
        yield from side(record, answer, "assistant")


def _is_whole(messages: list[Any]) -> bool:
    """Whether a list of messages begins with the prompt."""
    first = next(iter(conversation(messages[:1], "chosen")), None) if messages and is_message(messages[0]) else None
    return first is not None and first[0]["role"] != "assistant"


def _transcript(text: str) -> Iterator[Spoken]:
    """Gives the messages of a text in which the speakers are named, as in the HH data."""
    _, *spoken = SPEAKER.split(text)
    for speaker, said in zip(spoken[::2], spoken[1::2], strict=True):
        yield {"role": "user" if speaker == "Human" else "assistant", "content": said}, NO_MORE


def _prompt(record: Record) -> Iterator[Spoken]:
    chat = next((name for name in CHATS_IN if filled(record, name)), None)
    if filled(record, "prompt"):
        yield from side(record, "prompt", "user")
    elif chat:
        spoken = list(conversation(record[chat], chat))
        answers = len(list(takewhile(lambda each: each[0]["role"] == "assistant", reversed(spoken))))
        yield from spoken[: len(spoken) - answers]
    else:
        asked = next((name for name in ASKED_IN if filled(record, name)), None)
        if asked is None:
            found = field_names(record)
            raise RecordFault("missing_field", f"a preference record without a prompt; the fields found are {found}")
        if record.get("history"):
            yield from history(record["history"])
        more = text_in(record, "input") if asked != "input" and filled(record, "input") else ""
        text = text_in(record, asked)
        yield {"role": "user", "content": f"{text}\n{more}" if more else text}, NO_MORE


def other_answer(record: Record) -> Iterator[Spoken]:
    """Gives the conversation of a record of ms-swift with the rejected answer in place of its last one."""
    field = next(name for name in REJECTED_IN if filled(record, name))
    value = decoded(record[field], "[")
    if isinstance(value, list) and _is_whole(value):
        yield from conversation(value, field)
        return
    yield from _prompt({"messages": record["messages"]})
    yield from side(record, field, "assistant")


def undesired(record: Record, label: str) -> bool:
    """Whether a record with one answer says that it is not desired."""
    return record.get(label) is False or str(record.get(label)).strip().lower() == "false"
