"""The text of a sample that a classifier reads, and its labels: a class and, for an utterance, one slot per word.

    Labels(label="category")                                            # one class per text
    Labels(label="intent", slots="slots", words="tokens")               # intent and slots together
    {"instruction": "flights to Oslo", "tokens": ["flights", "to", "Oslo"], "slots": ["O", "O", "city"], "intent": …}

Class and slots are fields of the original record. Words and slots are two lists of equal length, or two strings that
are split at blanks; a text without blanks between its words needs lists. The words are searched for in the text one
after another. The text is tokenized as a whole, as it will be when the model is used. The slot of a word is predicted
at the token in which the word begins; a second word that begins in the same token has no slot.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Where the text and the labels of a sample are, and all label names in the order of the model's logits."""

    label: str = "label"
    """The field of the record with the class."""
    slots: str | None = None
    """The field of the record with one slot per word; None: a text has a class only."""
    words: str | None = None
    """The field of the record with the words; None: the text, split at blanks."""
    text: TextTemplate = "{instruction}"
    classes: Names = ()
    """Empty: all classes of the samples of the pool, sorted."""
    slot_names: Names = ()
    """The same for slots; their logits come after those of the classes."""

    def named(self) -> bool:
        """Whether the names of classes, and of slots where there are any, are filled in."""
        return len(self.classes) > 1 and (self.slots is None or len(self.slot_names) > 0)

    def of(self, raw: bytes) -> tuple[str, list[str]]:
        """The class and the slots of a record; RowError no_label or no_slots where it has none."""
        record = sample.record_in(raw)
        value = record.get(self.label)
        if value is None or value == "":
            raise RowError("no_label", f"the record has no {self.label!r}")
        return sample.spelled(value), _listed(record, self.slots) if self.slots else []


@plain_dataclass(frozen=True)
class Labelling:
    """A function from a sample to the `Supervised` that a classifier is trained on, of at most `max_tokens` tokens.

    Without slots the number of the class is the label of the last token. With slots it is the label of the token at
    which the class is predicted: the first token where the tokenizer adds one for this purpose (BERT's [CLS]), else an
    end-of-sequence token at the end. The first token of a word then has the number of its slot as its label, plus the
    number of classes. With slots, ValueError at construction for a tokenizer that does not give the position of its
    tokens in the text, and for one that has neither of those two tokens.
    """

    tokenizer: Any
    labels: Labels
    max_tokens: int

    def __post_init__(self) -> None:
        if self.labels.slots and not self.tokenizer.is_fast:
            raise ValueError("the tokenizer does not give the positions of its tokens in a text: slots need a fast one")
        if self.labels.slots and not self.begins_with_class and self.tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer lacks a token at which the class can be predicted: give it a cls or eos token"
            )

    @property
    def begins_with_class(self) -> bool:
        """Whether the tokenizer adds the token for the class to a text; a tokenizer may have one and not use it."""
        return self.tokenizer.cls_token_id in self.tokenizer("")["input_ids"]

    def __call__(self, id: int, messages: Sequence[Message], raw: bytes) -> Supervised:
        """The tokens of the sample with their labels.

        RowError empty_text; no_label or no_slots where the record lacks them; unknown_label for a name that is not in
        `Labels`; slots_do_not_fit where the numbers of words and slots differ, or a word is not in the text; unreadable
        (operators/unknown.py).
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
        numbers = {at: slot_number(slot) for at, slot in self._placed(text, raw, slots, spans)}
        for at, slot in numbers.items():
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
        """Pairs of a token's position and the slot that is predicted there; words that were cut off have none."""
        words = text.split() if self.labels.words is None else _listed(sample.record_in(raw), self.labels.words)
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


def _numbers(names: Sequence[str]) -> Callable[[str], int]:
    """The function from a name to its number; it raises RowError unknown_label."""
    known: Mapping[str, int] = {name: number for number, name in enumerate(names)}

    def number(name: str) -> int:
        if name not in known:
            raise RowError("unknown_label", f"{name!r} is none of the {len(known)} labels that the model predicts")
        return known[name]

    return number


def _listed(record: Mapping[str, Any], field: str) -> list[str]:
    """The strings of a field: a list as it is, a string split at blanks; RowError no_slots for anything else."""
    value = record.get(field)
    if isinstance(value, str):
        return sample.spelled(value).split()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RowError("no_slots", f"the record has no list of strings in {field!r}")
    return [sample.spelled(each) for each in value]
