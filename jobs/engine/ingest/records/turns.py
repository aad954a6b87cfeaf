"""The messages of an instruction and its response, which stand in fields of their own."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from jobs.engine.ingest.records.contents import together
from jobs.engine.ingest.records.messages import NO_MORE, REASONING_FIELDS, Spoken, conversation, is_message, spoken
from jobs.engine.ingest.records.rendered import opened
from jobs.engine.ingest.records.values import Record, decoded, filled, literal, text_in, wrong_type
from operators.sample import Message

SWITCHES = {"on", "off", "true", "false", "yes", "no", "enabled", "disabled", "none", "low", "medium", "high"}
"""What a field such as `reasoning` says where it tells how the model was to think, and not what it thought."""


def single_turn(
    record: Record,
    *,
    instruction: str,
    context: str | None,
    response: str,
    reasoning: Sequence[str] = REASONING_FIELDS,
) -> Iterator[Spoken]:
    """Gives an instruction and its response after the turns of `history`. The context is put on a new line.

    reasoning: the fields that may have the thoughts of the response.
    """
    asked = text_in(record, instruction)
    if context is not None and record.get(context) is not None and (more := text_in(record, context)):
        asked = f"{asked}\n{more}"
    answered = text_in(record, response)
    if record.get("history"):
        yield from history(record["history"])
    if begun := opened(asked):
        before, end = begun
        yield from before
        answered = end.sub("", answered).strip()
    else:
        yield {"role": "user", "content": asked}, NO_MORE
    yield from with_thoughts(record, spoken("assistant", answered, response), reasoning)


def with_thoughts(record: Record, said: Iterator[Spoken], fields: Sequence[str] = REASONING_FIELDS) -> Iterator[Spoken]:
    """Gives messages, the last with the thoughts that the record has in these fields."""
    given = [only(record[name]) for name in fields if filled(record, name)]
    if not given:
        yield from said
        return
    *before, (message, more) = said
    yield from before
    others = [each for each in given if not is_thought(each)]
    thoughts = together([message.get("reasoning") or "", *(each for each in given if is_thought(each))])
    yield (
        ({**message, "reasoning": thoughts} if thoughts else message),
        {**more, "reasoning": others} if others else more,
    )


def is_thought(value: Any) -> TypeGuard[str]:
    """Whether a value says what a model thought, and not how it was to think."""
    return isinstance(value, str) and value.strip().lower() not in SWITCHES


def only(value: Any) -> Any:
    """The text in a list of one text; any other value unchanged."""
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else value


def two_sides(record: Record, *, instruction: str, response: str) -> Iterator[Spoken]:
    """Gives the messages of two texts, or of two lists of messages (TRL's conversational form)."""
    if record.get("history"):
        yield from history(record["history"])
    texts = isinstance(record[instruction], str) and isinstance(record[response], str)
    if texts and (begun := opened(record[instruction])):
        before, end = begun
        yield from before
        record = {**record, response: end.sub("", record[response]).strip()}
    else:
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
