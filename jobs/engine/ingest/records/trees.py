"""OpenAssistant's conversation trees: every path from the prompt to a last answer is a conversation.

A tree stands in one record, or as a row for each of its messages, one after another (`whole_trees`).
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import Piece, RecordFault
from jobs.engine.ingest.records.messages import ROLES, Spoken, spoken
from jobs.engine.ingest.records.values import Record, text_in, wrong_type

SAID = ("text", "role", "replies")
TREE, MESSAGE, PARENT = "message_tree_id", "message_id", "parent_id"
ROW_MARKS = tuple(f'"{name}"'.encode() for name in (TREE, MESSAGE, PARENT))


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
        if not isinstance(replies, list):
            raise wrong_type("replies", replies, "an array")
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


def in_rows(head: bytes) -> bool:
    """Whether records that begin with these bytes are the messages of trees, a row each."""
    return all(mark in head for mark in ROW_MARKS)


def whole_trees(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Gives pieces, the rows of each tree as one piece at the place of its last row."""
    held: list[tuple[Piece, dict[str, Any]]] = []
    for piece in pieces:
        row = None if piece.fault or not in_rows(piece.raw) else _row(piece.raw)
        if held and (row is None or row[TREE] != held[0][1][TREE]):
            yield _tree(held)
            held = []
        if row is None:
            yield piece
        else:
            held.append((piece, row))
    if held:
        yield _tree(held)


def _row(raw: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(row, dict) and row.get(TREE) and row.get(MESSAGE) and PARENT in row):
        return None
    return row if all(isinstance(row[name], str | float | int | None) for name in (MESSAGE, PARENT)) else None


def _tree(held: list[tuple[Piece, dict[str, Any]]]) -> Piece:
    """The tree of these rows. Messages whose parents are not there begin it. It has a fault where a row would be lost.

    A row that is there twice counts once.
    """
    rows: dict[Any, dict[str, Any]] = {}
    replies: dict[Any, list[dict[str, Any]]] = {}
    for _, row in held:
        if rows.setdefault(row[MESSAGE], row) != row:
            return _refused(held, f"two messages of a tree have the {MESSAGE} {row[MESSAGE]!r}")
    for row in rows.values():
        replies.setdefault(row[PARENT] if row[PARENT] in rows else None, []).append(row)
    begun = replies.get(None, [])
    waiting, reached = [*begun], 0
    while waiting:
        below = replies.get(waiting.pop()[MESSAGE], [])
        waiting += below
        reached += 1
    if reached < len(rows):
        return _refused(held, "messages of a tree answer one another in a circle")
    for row in rows.values():
        row["replies"] = replies.get(row[MESSAGE], [])
    prompt = begun[0] if len(begun) == 1 else {"role": "prompter", "text": "", "replies": begun}
    try:
        return Piece(held[-1][0].line, json.dumps({TREE: held[0][1][TREE], "prompt": prompt}).encode())
    except RecursionError:
        return _refused(held, "the tree is deeper than can be read")


def _refused(held: list[tuple[Piece, dict[str, Any]]], message: str) -> Piece:
    return Piece(held[-1][0].line, b"\n".join(piece.raw for piece, _ in held), RecordFault("wrong_type", message))
