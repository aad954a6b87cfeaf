"""OpenAssistant's conversation trees: every path from the prompt to a last answer is a conversation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.messages import ROLES, Spoken, spoken
from jobs.engine.ingest.records.values import Record, text_in, wrong_type

SAID = ("text", "role", "replies")


class Path(NamedTuple):
    """One way through a tree."""

    spoken: list[Spoken]
    answer: Record
    """The last answer as the tree has it, without its replies: its rank among its siblings, its labels and so on."""


def is_tree(record: Record) -> bool:
    """Whether a record is a tree of messages."""
    return isinstance(record.get("prompt"), dict) and "replies" in record["prompt"]


def paths(record: Record) -> Iterator[Path]:
    """Gives the conversations of a tree, in its order. A path whose last message is a question ends before it.

    RecordFault where no one answers. The walk keeps its own stack, as a tree may be deep.
    """
    found = False
    waiting: list[tuple[Any, list[Spoken]]] = [(record["prompt"], [])]
    while waiting:
        node, before = waiting.pop()
        if not isinstance(node, dict):
            raise wrong_type("replies", node, "an object")
        here = [*before, _message(node)]
        replies = node.get("replies") or []
        answered = here[-1][0]["role"] == "assistant"
        goes_on = any(isinstance(each, dict) and each.get("replies") for each in replies)
        if answered and not goes_on:
            found = True
            yield Path(here, _without(node))
        else:
            waiting += [(each, here) for each in reversed(replies)]
    if not found:
        raise RecordFault("no_answer", "no message of the tree has an answer")


def _message(node: Record) -> Spoken:
    role = ROLES.get(str(node.get("role")).lower())
    if role is None:
        raise wrong_type("role", node.get("role"), "prompter or assistant")
    return next(spoken(role, text_in(node, "text"), "text"))


def _without(node: Record) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in SAID and value is not None}
