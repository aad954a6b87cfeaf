"""The tokens of a sample, and those of them that a model is trained on: the responses of the assistant.

A conversation is written out in pieces, prompts and responses in turn, and each piece is tokenized by itself. In any
language a token therefore belongs to one piece only, and a response begins with the tokens that a model would have to
generate after the prompt.

    tulu     <|user|>, <|assistant|> … on lines of their own, contents stripped. The end-of-sequence token and the line
             break after it are trained on too (the text that LESS trains on)
    tulu_prefixes
             the same text with the tokens of LESS's code (less/data_selection/get_training_dataset.py). The whole text
             is tokenized at once, and a border is at the number of tokens of the text before it. The border is wrong
             where the tokenizer joins the text on its two sides. Where the tokenizer writes a blank after special
             tokens, as Llama-2's does, there is one after each end of sequence, and it is trained on. tulu has neither
             fault
    alpaca   a preamble, then the sections "### Instruction:" and "### Response:" (Taori et al. 2023). The wording of
             the preamble is this project's; a system message of the sample replaces it
    chat     the tokenizer's own chat template
    plain    the contents one after another, without roles and with nothing between or after (as DEITA's scorers)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Literal

from operators.base import RowError
from operators.sample import Message, response
from operators.supervision.templates import ALPACA, TULU, WRITTEN, Segment, is_answer, written
from operators.unknown import refuse_unreadable

Template = Literal["tulu", "tulu_prefixes", "alpaca", "chat", "plain"]

IGNORED = -100
"""The label of a token that is not trained on."""

ASSISTANT = "<|assistant|>\n"
"""The text before a response in the templates tulu and tulu_prefixes."""


@dataclass(frozen=True)
class Supervised:
    """A tokenized sample."""

    id: int
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    """The tokens again, IGNORED for a token that is not trained on; for a classified text as in `labels.Labelling`."""
    truncated: bool = False
    """Whether the sample has more tokens than these."""

    @property
    def count(self) -> int:
        """The number of tokens that are trained on; the first token is not, as no token comes before it."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class Supervision:
    """A function from an id and messages to a `Supervised` of at most `max_tokens` tokens; longer samples are cut.

    A text begins with the beginning-of-sequence token where the tokenizer adds one; with `chat` the template decides.
    ValueError at construction where the tokenizer lacks what the template needs: a chat template for chat, an
    end-of-sequence token for tulu, tulu_prefixes and alpaca.
    """

    tokenizer: Any
    template: Template
    max_tokens: int

    def __post_init__(self) -> None:
        if self.template == "chat" and not self.tokenizer.chat_template:
            raise ValueError("the tokenizer has no chat template; set template to tulu, alpaca or plain")
        if self.template in ("tulu", "tulu_prefixes", "alpaca") and self.tokenizer.eos_token_id is None:
            raise ValueError(
                f"the tokenizer has no end-of-sequence token, with which a response ends in the template "
                f"{self.template}; give it one (eos_token in tokenizer_config.json), or set template to chat or plain"
            )

    def __call__(self, id: int, messages: Sequence[Message]) -> Supervised:
        """The tokens of the sample with their labels.

        RowError nothing_to_supervise where the tokens contain no text of the assistant; chat_template where the
        tokenizer's template refuses the messages or changes their order; unreadable (operators/unknown.py) where the
        model cannot read the conversation or the responses.
        """
        if not any(is_answer(message) for message in messages):
            raise RowError("nothing_to_supervise", "no assistant message has a text")
        tokens = self._by_prefixes(messages) if self.template == "tulu_prefixes" else self._by_pieces(messages)
        made = Supervised(
            id,
            tuple(token for token, _ in tokens[: self.max_tokens]),
            tuple(token if supervised else IGNORED for token, supervised in tokens[: self.max_tokens]),
            len(tokens) > self.max_tokens,
        )
        if not made.count:
            raise RowError("nothing_to_supervise", f"the response begins after the first {self.max_tokens} tokens")
        whole = "\n".join(map(written, messages))
        refuse_unreadable(self.tokenizer, made.input_ids, whole, response(messages), limit=self.max_tokens)
        return made

    @property
    def begins(self) -> bool:
        """Whether a text begins with the tokenizer's beginning-of-sequence token."""
        first = self.tokenizer("")["input_ids"][:1]
        return self.template != "chat" and first == [self.tokenizer.bos_token_id]

    def _by_prefixes(self, messages: Sequence[Message]) -> list[tuple[int, bool]]:
        """Pairs of a token and whether it is trained on, the whole text tokenized at once (tulu_prefixes)."""
        texts = [
            "".join(
                self.tokenizer.eos_token if piece.text is None else piece.text
                for piece in WRITTEN["tulu"](None, [message])
            )
            for message in messages
        ]
        tokens = self._whole("".join(texts))
        supervised = [True] * len(tokens)
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                continue
            begin = len(self._whole("".join(texts[:at]))) if at else 0
            if begin >= self.max_tokens:
                break
            until = "".join(texts[: at + 1])
            if at + 1 < len(messages) and messages[at + 1]["role"] == "assistant":
                until += ASSISTANT
            end = min(len(self._whole(until)), len(tokens))
            supervised[begin:end] = [False] * (end - begin)
        return list(zip(tokens, supervised, strict=True))

    def _whole(self, text: str) -> list[int]:
        return self.tokenizer(text, verbose=False)["input_ids"]

    def _by_pieces(self, messages: Sequence[Message]) -> list[tuple[int, bool]]:
        """Pairs of a token and whether it is trained on, each piece tokenized by itself."""
        return list(chain(self._beginning(), *self._encoded(WRITTEN[self.template](self.tokenizer, messages))))

    def _beginning(self) -> list[tuple[int, bool]]:
        return [(self.tokenizer.bos_token_id, False)] if self.begins else []

    def _encoded(self, pieces: Iterable[Segment]) -> Iterator[list[tuple[int, bool]]]:
        """The pairs of each run of pieces; neighbouring pieces that are alike trained on are tokenized as one text."""
        encoded = self._alone
        for (ends, supervised), group in groupby(pieces, lambda piece: (piece.text is None, piece.supervised)):
            text = "".join(piece.text or "" for piece in group)
            tokens = [self.tokenizer.eos_token_id] if ends else encoded(text)
            yield [(token, supervised) for token in tokens]
            encoded = self._within

    def _alone(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def _within(self, text: str) -> list[int]:
        """The tokens of a text that is not the first, without the blank that some tokenizers add before a text."""
        anchor = self._alone("\n")
        anchored = self._alone("\n" + text)
        if anchored[: len(anchor)] == anchor:
            return anchored[len(anchor) :]
        return self._alone(text)  # the tokenizer joined the text to the anchor, so it adds no blank


def chat_template(tokenizer: Any, template: Template) -> str | None:
    """The template as a Jinja chat template for asking a model that was trained on it; None for chat and plain.

    A rendered prompt has the tokens of a trained sample up to its response. In later turns a tokenizer that adds a
    blank before every text may add one more.
    """
    begins = "{{ bos_token }}" if Supervision(tokenizer, template, 1).begins else ""
    return {"tulu": begins + TULU, "tulu_prefixes": begins + TULU, "alpaca": begins + ALPACA}.get(template)
