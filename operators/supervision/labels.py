"""What a classifier is shown of a sample and what it has to tell: a class and, of an utterance, a slot a word.

    Labels(label="category")                                            # a class a text
    Labels(label="intent", slots="slots", words="tokens")               # intent and slots together
    {"instruction": "flights to Oslo", "tokens": ["flights", "to", "Oslo"], "slots": ["O", "O", "city"], "intent": …}

Class and slots are fields of the original record. Words and slots are lists that go together one by one, or strings
that are cut at blanks; a text that is written without blanks wants lists. The words are looked for in the text one
after another, and the text is tokenized whole, as it will be when the model is used. A word's slot is told at the token
that it begins in; a second word that begins there goes without.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from operators import sample
from operators.base import STRICT, RowError
from operators.sample import Message
from operators.supervision.supervised import IGNORED, Supervised
from operators.templated import TextTemplate
from operators.unknown import refuse_unreadable

Names = Annotated[tuple[str, ...], Field(strict=False)]


@dataclass(frozen=True, config=STRICT)
class Labels:
    """Where a sample's text and labels are, and the labels there are, in the order of the model's logits."""

    label: str = "label"
    """The record's field with the class."""
    slots: str | None = None
    """The record's field with a slot a word; None: a text has a class alone."""
    words: str | None = None
    """The record's field with the words; None: the text, cut at blanks."""
    text: TextTemplate = "{instruction}"
    classes: Names = ()
    """Empty: all that the samples of the pool have, sorted."""
    slot_names: Names = ()
    """The same of slots; their logits come after those of the classes."""

    def named(self) -> bool:
        """Whether the labels there are have been filled in."""
        return len(self.classes) > 1 and (self.slots is None or len(self.slot_names) > 0)

    def of(self, raw: bytes) -> tuple[str, list[str]]:
        """The class and the slots of a record; RowError no_label and no_slots where it has none."""
        record = json.loads(raw)
        value = record.get(self.label)
        if value is None or value == "":
            raise RowError("no_label", f"the record has no {self.label!r}")
        return sample.spelled(value), _listed(record, self.slots) if self.slots else []


@plain_dataclass(frozen=True)
class Labelling:
    """A function from a sample to the Supervised that a classifier is trained on, of at most `max_tokens` tokens.

    Without slots the class's number is the label of the last token. With slots it is that of the token that tells the
    class: the first, where the tokenizer puts one for that (BERT's [CLS]), else an end-of-sequence token at the end;
    and a word's first token has its slot's number, counted on from the classes. ValueError at construction for a
    tokenizer that does not say where its tokens stand in the text, or has neither of those two.
    """

    tokenizer: Any
    labels: Labels
    max_tokens: int

    def __post_init__(self) -> None:
        if self.labels.slots and not self.tokenizer.is_fast:
            raise ValueError("the tokenizer does not tell where its tokens stand in the text: slots want a fast one")
        if self.labels.slots and not self.begins_with_class and self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no token at which the class can be told: give it a cls or eos token")

    @property
    def begins_with_class(self) -> bool:
        """Whether the tokenizer puts a token there that is meant to tell the class; having one is not using it."""
        return self.tokenizer.cls_token_id in self.tokenizer("")["input_ids"]

    def __call__(self, id: int, messages: Sequence[Message], raw: bytes) -> Supervised:
        """The sample's tokens and labels.

        RowError empty_text; no_label and no_slots for what the record lacks; unknown_label for a name that is not among
        those there are; slots_do_not_fit where words and slots are not as many, or a word is not in the text;
        unreadable (operators/unknown.py).
        """
        text = sample.text(self.labels.text, messages, raw)
        if not text.strip():
            raise RowError("empty_text")
        name, slots = self.labels.of(raw)
        number = _numbers(self.labels.classes)(name)
        slotted = self.labels.slots is not None
        made = self._with_slots(id, text, raw, number, slots) if slotted else self._alone(id, text, number)
        refuse_unreadable(self.tokenizer, made.input_ids, text, limit=self.max_tokens)
        return made

    def _alone(self, id: int, text: str, number: int) -> Supervised:
        tokens = self.tokenizer(text, verbose=False)["input_ids"]
        kept = self.tokenizer(text, truncation=True, max_length=self.max_tokens, verbose=False)["input_ids"]
        return Supervised(id, tuple(kept), (IGNORED,) * (len(kept) - 1) + (number,), len(tokens) > len(kept))

    def _with_slots(self, id: int, text: str, raw: bytes, number: int, slots: list[str]) -> Supervised:
        first = self.begins_with_class
        limit = self.max_tokens - (not first)
        options = {"truncation": True, "max_length": limit, "return_offsets_mapping": True}
        encoded = self.tokenizer(text, verbose=False, **options)
        tokens, spans = encoded["input_ids"], encoded["offset_mapping"]
        targets = [IGNORED] * len(tokens)
        slot_number = _numbers(self.labels.slot_names)
        told = {at: slot_number(slot) for at, slot in self._placed(text, raw, slots, spans)}
        for at, slot in told.items():
            targets[at] = len(self.labels.classes) + slot
        if first:
            targets[tokens.index(self.tokenizer.cls_token_id)] = number
        else:
            tokens, targets = [*tokens, self.tokenizer.eos_token_id], [*targets, number]
        whole = len(self.tokenizer(text, verbose=False)["input_ids"]) + (not first)
        return Supervised(id, tuple(tokens), tuple(targets), whole > len(tokens))

    def _placed(
        self, text: str, raw: bytes, slots: list[str], spans: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, str]]:
        """The token that each slot is told at, with the slot; none for words that were cut off."""
        words = text.split() if self.labels.words is None else _listed(json.loads(raw), self.labels.words)
        if len(words) != len(slots):
            raise RowError("slots_do_not_fit", f"{len(words)} words and {len(slots)} slots")
        real = [(begin, at) for at, (begin, end) in enumerate(spans) if begin < end]
        begins, taken, here = [begin for begin, _ in real], set(), 0
        for word, slot in zip(words, slots, strict=True):
            found = text.find(word, here) if word else -1
            if found < 0:
                raise RowError("slots_do_not_fit", f"the word {word!r} is not in the text after its {here} characters")
            here = found + len(word)
            at = bisect_right(begins, found) - 1
            if at >= 0 and found < spans[real[at][1]][1] and at not in taken:
                taken.add(at)
                yield real[at][1], slot


def _numbers(names: Sequence[str]) -> Any:
    known: Mapping[str, int] = {name: number for number, name in enumerate(names)}

    def number(name: str) -> int:
        if name not in known:
            raise RowError("unknown_label", f"{name!r} is none of the {len(known)} labels that the model tells apart")
        return known[name]

    return number


def _listed(record: Mapping[str, Any], field: str) -> list[str]:
    """The strings of a field, one by one; RowError no_slots where it has none."""
    value = record.get(field)
    if isinstance(value, str):
        return sample.spelled(value).split()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RowError("no_slots", f"the record has no list of strings in {field!r}")
    return [sample.spelled(each) for each in value]
