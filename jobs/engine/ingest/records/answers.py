"""Refuses records without an answer, which cannot be trained on.

A sample without an answer would be rated, embedded and selected like any other, and then be left out of training.
"""

from collections.abc import Sequence

from jobs.engine.ingest.faults import RecordFault
from operators.sample import Message, said

KEPT_BY = "--keep-unanswered keeps such records, for those that have a label to learn"


def refuse_unanswered(messages: Sequence[Message]) -> None:
    """RecordFault `no_answer` if the last message is not the assistant's, or is empty."""
    last = messages[-1]
    if last["role"] == "assistant":
        if not _blank(last):
            return
        thinks = "only thinks" if last.get("reasoning") else "is empty"
        raise RecordFault("no_answer", f"the assistant's last message {thinks}; {KEPT_BY}")
    if any(message["role"] == "assistant" for message in messages):
        who = {"user": "the user's last message", "tool": "the result of the last call"}
        raise RecordFault("no_answer", f"{who.get(last['role'], 'the last message')} has no answer; {KEPT_BY}")
    raise RecordFault("no_answer", f"the conversation has no assistant message; {KEPT_BY}")


def _blank(message: Message) -> bool:
    text = said(message)
    return not text or text.isspace()
