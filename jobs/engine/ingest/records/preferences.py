"""Preference records: a prompt with a chosen and a rejected answer, or one answer with the label that it is desired.

{"prompt": …, "chosen": …, "rejected": …}                 texts or lists of messages (TRL)
{"chosen": [user, assistant], "rejected": […]}            the prompt is in both (TRL's implicit prompt)
{"conversations": […], "chosen": {…}, "rejected": {…}}    LLaMA-Factory
{"messages": […], "rejected_response": "…"}               ms-swift: the messages have the chosen answer
{"prompt": …, "completion": …, "label": true}             one answer, desired or not (KTO)

These are spelled otherwise, and read as the first two:

{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}    OpenAI
{"instruction": …, "output": ["chosen", "rejected"]}                                  LLaMA-Factory, formerly
{"prompt": …, "accepted": …, "rejected": …}    also chosen_response and rejected_response
"""

import re
from collections.abc import Iterator, Sequence, Set
from itertools import takewhile
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.messages import NO_MORE, Spoken, conversation, is_message
from jobs.engine.ingest.records.rendered import opened
from jobs.engine.ingest.records.turns import history, side
from jobs.engine.ingest.records.values import Record, decoded, field_names, filled, text_in

ASKED_IN = ("instruction", "question", "query", "input")
CHATS_IN = ("messages", "conversations", "conversation")
PREFERRED = ("input", "preferred_output", "non_preferred_output")
SPELLED = {"rejected": "accepted", "rejected_response": "chosen_response"}
"""Other names of the chosen answer, by that of the rejected one."""
TAG = "kto_tag"
LABELS = ("label", TAG)
"""The fields that say whether the one answer of a record is desired."""
SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant): ?")
TRUTHS = {"true": True, "false": False, "desirable": True, "undesirable": False, "chosen": True, "rejected": False}


def respelled(record: Record) -> Record:
    """Returns a record with its two answers as `chosen` and `rejected`, where it has other names for them."""
    if "preferred_output" in record and "non_preferred_output" in record:
        more = {"chosen": record["preferred_output"], "rejected": record["non_preferred_output"]}
        asked = record.get("input")
        others = {name: record[name] for name in record if name not in PREFERRED}
        return {**others, **(asked if isinstance(asked, dict) else {"input": asked}), **more}
    for worse, better in SPELLED.items():
        if worse in record and better in record and "chosen" not in record:
            names = {better: "chosen", worse: "rejected"}
            return {names.get(name, name): value for name, value in record.items()}
    answers = record.get("output")
    if type(answers) is list and len(answers) == 2 and isinstance(record.get("instruction"), str) and _texts(answers):
        others = {name: value for name, value in record.items() if name != "output"}
        return {**others, "chosen": answers[0], "rejected": answers[1]}
    return record


def _texts(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(each, str) for each in values)


def rejected_in(record: Record, field: str) -> list[Record]:
    """Returns the record once for each rejected answer in this field, with that answer alone. Most have one."""
    value = decoded(record[field], "[")
    if _texts(value):
        return [{**record, field: each} for each in value]
    return [record] if filled(record, field) else []


def pair(record: Record, *, answer: str) -> Iterator[Spoken]:
    """Gives the conversation that ends with this answer, which is the field `chosen` or `rejected`."""
    value = _answer(record, answer)
    if _is_whole(value):
        yield from conversation(value, answer)
    elif _is_transcript(record, value):
        yield from _transcript(value)
    else:
        yield from _prompt(record)
        yield from side({answer: value}, answer, "assistant")


def _answer(record: Record, field: str) -> Any:
    value = decoded(decoded(record[field], "["), "{")
    return value[0] if _texts(value) and len(value) == 1 else value


def prompt_fields(record: Record, answer: str) -> Set[str]:
    """The fields that `pair` reads besides this answer, and reads whole."""
    value = _answer(record, answer)
    if _is_whole(value) or _is_transcript(record, value):
        return frozenset()
    if filled(record, "prompt"):
        return {"prompt"}
    if chat := _first(record, CHATS_IN):
        *_, (last, _) = conversation(record[chat], chat)
        return frozenset() if last["role"] == "assistant" else {chat}
    asked = _first(record, ASKED_IN)
    return {name for name in (asked, "input", "history") if name}


def _first(record: Record, names: Sequence[str]) -> str | None:
    return next((name for name in names if filled(record, name)), None)


def _is_transcript(record: Record, value: Any) -> bool:
    return isinstance(value, str) and not filled(record, "prompt") and SPEAKER.match(value) is not None


def _is_whole(messages: Any) -> bool:
    """Whether an answer is a list of messages that begins with the prompt."""
    if not (isinstance(messages, list) and messages and is_message(messages[0])):
        return False
    first = next(iter(conversation(messages[:1], "chosen")), None)
    return first is not None and first[0]["role"] != "assistant"


def _transcript(text: str) -> Iterator[Spoken]:
    """Gives the messages of a text in which the speakers are named, as in the HH data."""
    _, *spoken = SPEAKER.split(text)
    for speaker, said in zip(spoken[::2], spoken[1::2], strict=True):
        yield {"role": "user" if speaker == "Human" else "assistant", "content": said}, NO_MORE


def _prompt(record: Record) -> Iterator[Spoken]:
    chat = _first(record, CHATS_IN)
    if filled(record, "prompt"):
        begun = opened(record["prompt"]) if isinstance(record["prompt"], str) else None
        yield from begun[0] if begun else side(record, "prompt", "user")
    elif chat:
        spoken = list(conversation(record[chat], chat))
        answers = len(list(takewhile(lambda each: each[0]["role"] == "assistant", reversed(spoken))))
        yield from spoken[: len(spoken) - answers]
    else:
        asked = _first(record, ASKED_IN)
        if asked is None:
            found = field_names(record)
            raise RecordFault("missing_field", f"a preference record without a prompt; the fields found are {found}")
        if record.get("history"):
            yield from history(record["history"])
        more = text_in(record, "input") if asked != "input" and filled(record, "input") else ""
        text = text_in(record, asked)
        yield {"role": "user", "content": f"{text}\n{more}" if more else text}, NO_MORE


def other_answer(record: Record, *, answer: str) -> Iterator[Spoken]:
    """Gives the conversation of a record of ms-swift with the rejected answer in place of its last one."""
    value = _answer(record, answer)
    if _is_whole(value):
        yield from conversation(value, answer)
        return
    yield from _prompt({"messages": record["messages"]})
    yield from side({answer: value}, answer, "assistant")


def desire(record: Record, names: Sequence[str]) -> tuple[str, bool] | None:
    """Whether the answer of a record is desired, as the label of KTO says, and the field, among these, that says it.

    None for a record without such a label. A label that is neither a truth value nor a word for one is a class, which
    is to be learned. In `kto_tag`, 0 and 1 are truth values too.
    """
    for name in names:
        value = record.get(name)
        if isinstance(value, str):
            value = TRUTHS.get(value.strip().lower())
        elif name == TAG and value in (0, 1):
            value = bool(value)
        if isinstance(value, bool):
            return name, value
    return None
