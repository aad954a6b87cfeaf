"""Ids that take no memory where they are consecutive, as those of a whole pool are, until they are used."""

from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np

BLOCK = 1 << 16
"""Ids that are looked for at a time."""
_IN_USE: WeakValueDictionary[tuple[int, int], np.ndarray] = WeakValueDictionary()
"""The arrays of consecutive ids that something uses now, by the first id and the one after the last."""


class Compact:
    """A field of a dataclass: ids, ascending, (n,) int64. Consecutive ones are held as their first and their end.

    Reading the field makes the array, which cannot be written to. Fields with the same consecutive ids give the same
    array as long as somebody uses it.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> np.ndarray:
        if instance is None:
            raise AttributeError(self.name)  # so a dataclass sees that the field has no default
        held = instance.__dict__[self.name]
        return _consecutive(*held) if isinstance(held, tuple) else held

    def __set__(self, instance: Any, ids: np.ndarray) -> None:
        every = len(ids) and int(ids[-1]) - int(ids[0]) == len(ids) - 1
        instance.__dict__[self.name] = (int(ids[0]), int(ids[-1]) + 1) if every else ids


def compact() -> Any:
    """The field, as a dataclass declares it."""
    return Compact()


class Identified(Protocol):
    """What has ids, ascending."""

    @property
    def ids(self) -> np.ndarray: ...


def same(one: Identified, other: Identified) -> bool:
    """Whether two objects hold the same ids; the array of consecutive ones is not made."""
    first, second = vars(one)["ids"], vars(other)["ids"]
    return first == second if isinstance(first, tuple) and isinstance(second, tuple) else first is second


def chosen(of: Identified, positions: np.ndarray) -> np.ndarray:
    """The ids of an object at some positions; the array of consecutive ones is not made."""
    held = vars(of)["ids"]
    return positions + held[0] if isinstance(held, tuple) else held[positions]


def positions(of: Identified, ids: np.ndarray) -> np.ndarray:
    """The positions of some of an object's ids; the array of consecutive ones is not made."""
    held = vars(of)["ids"]
    return ids - held[0] if isinstance(held, tuple) else np.searchsorted(held, ids)


def inside(ids: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Whether each id is one of some others, which ascend; (n,) bool. It takes little more memory than the answer."""
    found = np.zeros(len(ids), bool)
    for start in range(0, len(ids) if len(some) else 0, BLOCK):
        block = ids[start : start + BLOCK]
        places = np.minimum(np.searchsorted(some, block), len(some) - 1)
        found[start : start + BLOCK] = some[places] == block
    return found


def _consecutive(first: int, end: int) -> np.ndarray:
    found = _IN_USE.get((first, end))
    if found is None:
        found = np.arange(first, end)
        found.flags.writeable = False
        _IN_USE[first, end] = found
    return found
