"""Refuses records without an answer, which cannot be trained on.

A sample without an answer would be rated, embedded and selected like any other, and then be left out of training. In a
conversation of several turns the last answer counts. A last question without an answer does not matter: the answers
before it can be trained on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from operators.sample import Message

PREFERENCE = ("chosen", "rejected")

KEPT_BY = "--answers optional keeps such records, for those that have a label to learn"


def refuse_unanswered(record: Mapping[str, Any], messages: Sequence[Message]) -> None:
    """RecordFault `no_answer` if there is no assistant message, or if the last one is empty."""
    if messages[-1]["role"] == "assistant" and not _blank(messages[-1]):
        return
    refuse_preference(record)
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise RecordFault("no_answer", f"the conversation has no assistant message; {KEPT_BY}")
    if _blank(answers[-1]):
        raise RecordFault("no_answer", f"the assistant's last message is empty; {KEPT_BY}")


def refuse_preference(record: Mapping[str, Any]) -> None:
    """RecordFault `no_answer` for a preference record, whose answers are not in its conversation."""
    held = [field for field in PREFERENCE if record.get(field) is not None]
    if held:
        raise RecordFault(
            "no_answer",
            f"a preference record: the answers stand in {' and '.join(held)}, which are not read; put the better one "
            "into the conversation, or, where both are strings, name it: --columns instruction=prompt,response=chosen",
        )


def _blank(message: Message) -> bool:
    return not message["content"] or message["content"].isspace()
