"""The messages of an instruction and its response, which stand in fields of their own."""

from collections.abc import Iterator
from typing import Any

from jobs.engine.ingest.records.contents import together
from jobs.engine.ingest.records.messages import NO_MORE, REASONING_FIELDS, Spoken, conversation, is_message, spoken
from jobs.engine.ingest.records.values import Record, decoded, filled, literal, text_in, wrong_type
from operators.sample import Message


def single_turn(record: Record, *, instruction: str, context: str | None, response: str) -> Iterator[Spoken]:
    """Gives an instruction and its response after the turns of `history`. The context is put on a new line."""
    asked = text_in(record, instruction)
    if context is not None and record.get(context) is not None and (more := text_in(record, context)):
        asked = f"{asked}\n{more}"
    answered = text_in(record, response)
    if record.get("history"):
        yield from history(record["history"])
    yield {"role": "user", "content": asked}, NO_MORE
    yield from with_thoughts(record, spoken("assistant", answered, response))


def with_thoughts(record: Record, said: Iterator[Spoken]) -> Iterator[Spoken]:
    """Gives messages, the last with the thoughts that the record has in fields of their own."""
    given = [record[name] for name in REASONING_FIELDS if filled(record, name)]
    if not given:
        yield from said
        return
    *before, (message, more) = said
    yield from before
    others = [each for each in given if not isinstance(each, str)]
    thoughts = together([message.get("reasoning") or "", *(each for each in given if isinstance(each, str))])
    yield (
        ({**message, "reasoning": thoughts} if thoughts else message),
        {**more, "reasoning": others} if others else more,
    )


def two_sides(record: Record, *, instruction: str, response: str) -> Iterator[Spoken]:
    """Gives the messages of two texts, or of two lists of messages (TRL's conversational form)."""
    if record.get("history"):
        yield from history(record["history"])
    yield from side(record, instruction, "user")
    yield from with_thoughts(record, side(record, response, "assistant"))


def side(record: Record, field: str, role: str) -> Iterator[Spoken]:
    """Gives the messages of one side of a conversation: a text in this role, a message, or a list of messages."""
    value = decoded(decoded(record[field], "["), "{")
    if is_message(value) or (isinstance(value, list) and value and is_message(value[0])):
        yield from conversation(value, field)
    elif role == "assistant":
        yield from spoken("assistant", text_in(record, field), field)
    else:
        yield {"role": "user", "content": text_in(record, field)}, NO_MORE


def history(pairs: Any) -> Iterator[Spoken]:
    """Gives the messages of the turns before the last."""
    pairs = literal(decoded(pairs, "["))
    if not isinstance(pairs, list):
        raise wrong_type("history", pairs, "an array of [instruction, response] pairs")
    if pairs and not isinstance(pairs[0], list | tuple):
        yield from conversation(pairs, "history")
        return
    for position, pair in enumerate(pairs):
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise wrong_type(f"history[{position}]", pair, "a pair of strings")
        asked: Message = {"role": "user", "content": pair[0]}
        yield asked, NO_MORE
        yield from spoken("assistant", pair[1], f"history[{position}][1]")


def calls_only(record: Record, *, instruction: str, response: str) -> Iterator[Spoken]:
    """Gives a question, and the calls that answer it (xLAM)."""
    yield {"role": "user", "content": text_in(record, instruction)}, NO_MORE
    if filled(record, response):
        yield from conversation([{"role": "assistant", "tool_calls": record[response]}], response)
    else:
        yield {"role": "assistant", "content": ""}, NO_MORE
