"""A format: the fields by which a record is recognised, and how messages are read from them."""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from functools import cached_property

from jobs.engine.ingest.records.messages import Spoken
from jobs.engine.ingest.records.values import Record

SYSTEM_FIELDS, TOOL_FIELDS = ("system", "system_prompt", "system_message", "systemInstruction"), ("tools", "functions")


@dataclass(frozen=True)
class Format:
    """A format: the fields by which it is recognised, and how messages are read from them."""

    name: str
    needs: Set[str]
    spoken: Callable[[Record], Iterable[Spoken]]
    also: Set[str] = frozenset()
    """Optional fields, besides the needed ones, the tools and the system prompt."""
    system: tuple[str, ...] = SYSTEM_FIELDS
    """The fields that may have a system prompt."""
    tools: tuple[str, ...] = TOOL_FIELDS
    """The fields that may have the tools on offer."""
    apart: Set[str] = frozenset()
    """Needed fields that are no part of the conversation."""
    repeats: Set[str] = frozenset()
    """Fields that add nothing where a message has the same text."""
    turn: tuple[str, str, str] | None = None
    """The fields of the instruction, of its context (empty for none) and of the response."""
    chat: str | None = None
    """The field that holds all messages."""
    fits: Callable[[Record], bool] | None = None
    """What the values must be besides, for a format that its fields alone do not tell."""
    example: str = ""
    """What a record looks like, for the documentation."""

    @cached_property
    def holds(self) -> Set[str]:
        """The fields whose values become messages."""
        return frozenset({*self.needs, *self.also, *self.system, *self.tools} - self.apart)
