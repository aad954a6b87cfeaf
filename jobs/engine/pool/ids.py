"""The ids of a pool's objects, which take little memory until they are used."""

from typing import Any

import numpy as np

from jobs.engine.pool.held import BLOCK, SPARSE, Held, held, marked


class Compact:
    """A field of a dataclass: ids, ascending, (n,) int64. They are held in little memory (held.py).

    Reading the field makes the array, which cannot be written to. It is given ids in either form.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> np.ndarray:
        if instance is None:
            raise AttributeError(self.name)  # so a dataclass sees that the field has no default
        return instance.__dict__[self.name].ids()

    def __set__(self, instance: Any, ids: np.ndarray | Held) -> None:
        instance.__dict__[self.name] = held(ids) if isinstance(ids, np.ndarray) else ids


def compact() -> Compact:
    """The field, as a dataclass declares it."""
    return Compact()


def held_by(of: object) -> Held:
    """The ids of an object as it holds them; the array is not made."""
    return vars(of)["ids"]


def inside(ids: np.ndarray, some: Held) -> np.ndarray:
    """Whether each id is one of some others; (n,) bool. It takes little more memory than the answer."""
    found = np.zeros(len(ids), bool)
    for start in range(0, len(ids) if len(some) else 0, BLOCK):
        found[start : start + BLOCK] = some.find(ids[start : start + BLOCK])[1]
    return found


def among(ids: Held, some: Held) -> np.ndarray:
    """`inside` for ids of which the array is not made."""
    if ids is some:
        return np.ones(len(ids), bool)
    found, begin = np.zeros(len(ids), bool), 0
    for block in ids.blocks() if len(some) else ():
        found[begin : begin + len(block)] = some.find(block)[1]
        begin += len(block)
    return found


def union(one: Held, other: Held) -> Held:
    """The ids that are among these, among the others, or among both."""
    if one == other or not len(other):
        return one
    if not len(one):
        return other
    ends = np.array([one.at(np.array([0, len(one) - 1])), other.at(np.array([0, len(other) - 1]))])
    first, span = int(ends.min()), int(ends.max() - ends.min()) + 1
    if span >= SPARSE * (len(one) + len(other)):
        return held(np.union1d(one.ids(), other.ids()))
    marks = np.zeros(span, bool)
    for some in (one, other):
        for block in some.blocks():
            marks[block - first] = True
    return marked(first, marks)
