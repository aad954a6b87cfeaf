"""The tokens of a sample, and which of them a model is trained on: what the assistant says.

The conversation is written out in pieces, prompts and responses in turns, and every piece is tokenized by itself:
a token never has a bit of both, in no language, and a response begins with the tokens that a model which was given
the prompt would have to generate.

    tulu     <|user|>, <|assistant|> … on lines of their own, contents stripped; the end-of-sequence token and the
             line break after it are trained on too (the text that LESS trains on)
    tulu_prefixes
             the same text with the tokens of LESS's code (less/data_selection/get_training_dataset.py): it is tokenized
             whole, and a border is where the tokens of the text up to it would end. It is off where the tokenizer joins
             what is left and right of it; and where the tokenizer puts a blank after special tokens, as Llama-2's
             does, one stands behind each end of sequence and is trained on. tulu has neither
    alpaca   a preamble, then the sections "### Instruction:" and "### Response:" (Taori et al. 2023). The preamble is
             worded by this project; a sample's system message takes its place
    chat     the tokenizer's own chat template
    plain    the contents one after another: no roles, nothing between or after (DEITA trains its scorers so)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Literal, NamedTuple

from operators.base import RowError
from operators.sample import Message, response
from operators.unknown import refuse_unreadable

Template = Literal["tulu", "tulu_prefixes", "alpaca", "chat", "plain"]

IGNORED = -100
"""The label of a token that is not trained on."""

ASSISTANT = "<|assistant|>\n"
"""What a response follows in the templates tulu and tulu_prefixes."""

PREAMBLE = "You are given an instruction. Answer it with a response that does what it asks for."


@dataclass(frozen=True)
class Supervised:
    """A tokenized sample."""

    id: int
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    """The tokens again, IGNORED where one is not trained on; of a classified text, what `labels.Labelling` says."""
    truncated: bool = False
    """Whether the sample has more tokens than these."""

    @property
    def count(self) -> int:
        """How many tokens are trained on; the first token is none, as nothing comes before it."""
        return sum(label != IGNORED for label in self.labels[1:])


class Piece(NamedTuple):
    """A piece of a conversation as it is written out."""

    text: str | None
    """None for the end-of-sequence token."""
    supervised: bool = False


@dataclass(frozen=True)
class Supervision:
    """A function from an id and messages to a Supervised of at most `max_tokens` tokens, cut at its end.

    ValueError at construction where the template needs what the tokenizer has not: a chat template for chat, an
    end-of-sequence token for tulu, tulu_prefixes and alpaca. A text begins with the tokenizer's beginning-of-sequence
    token where the tokenizer puts one there; with `chat` the template says.
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
        """The sample's tokens; RowError nothing_to_supervise where no word of the assistant is among them.

        RowError chat_template where the tokenizer's template refuses the messages or does not keep to their order;
        unreadable (operators/unknown.py) where that holds of the conversation or of what the assistant says.
        """
        if not any(_answers(message) for message in messages):
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
        whole = "\n".join(message["content"] for message in messages)
        refuse_unreadable(self.tokenizer, made.input_ids, whole, response(messages), limit=self.max_tokens)
        return made

    @property
    def begins(self) -> bool:
        """Whether a text begins with the tokenizer's beginning-of-sequence token."""
        first = self.tokenizer("")["input_ids"][:1]
        return self.template != "chat" and first == [self.tokenizer.bos_token_id]

    def _by_prefixes(self, messages: Sequence[Message]) -> list[tuple[int, bool]]:
        """The tokens of the whole text, each with whether it is trained on; borders are counts of prefixes' tokens."""
        texts = [
            "".join(self.tokenizer.eos_token if piece.text is None else piece.text for piece in _tulu(None, [message]))
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
        """The tokens of the pieces, each with whether it is trained on."""
        return list(chain(self._beginning(), *self._encoded(WRITTEN[self.template](self.tokenizer, messages))))

    def _beginning(self) -> list[tuple[int, bool]]:
        return [(self.tokenizer.bos_token_id, False)] if self.begins else []

    def _encoded(self, pieces: Iterable[Piece]) -> Iterator[list[tuple[int, bool]]]:
        """The tokens of the pieces, each with whether it is trained on; neighbours of one kind are one text."""
        encoded = self._alone
        for (ends, supervised), group in groupby(pieces, lambda piece: (piece.text is None, piece.supervised)):
            text = "".join(piece.text or "" for piece in group)
            tokens = [self.tokenizer.eos_token_id] if ends else encoded(text)
            yield [(token, supervised) for token in tokens]
            encoded = self._within

    def _alone(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def _within(self, text: str) -> list[int]:
        """The tokens of a text that is not the first: without the blank that some tokenizers put before a text."""
        anchor = self._alone("\n")
        anchored = self._alone("\n" + text)
        if anchored[: len(anchor)] == anchor:
            return anchored[len(anchor) :]
        return self._alone(text)  # the text's own line break was joined to the anchor: a tokenizer without that blank


def _answers(message: Message) -> bool:
    return message["role"] == "assistant" and bool(message["content"].strip())


def _tulu(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Piece]:
    for message in messages:
        answers = _answers(message)
        yield Piece(f"<|{message['role']}|>\n")
        yield Piece(message["content"].strip(), answers)
        if message["role"] == "assistant":
            yield Piece(None, answers)
        yield Piece("\n", answers)


def _alpaca(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Piece]:
    if not messages or messages[0]["role"] != "system":
        yield Piece(PREAMBLE)
    for position, message in enumerate(messages):
        if message["role"] == "assistant":
            yield Piece("\n\n### Response:")
            yield Piece(message["content"], _answers(message))
            yield Piece(None, _answers(message))
        elif message["role"] == "user":
            yield Piece(f"\n\n### Instruction:\n{message['content']}")
        else:
            yield Piece(f"\n\n{message['content']}" if position else message["content"])


def _plain(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Piece]:
    return (Piece(message["content"], _answers(message)) for message in messages)


def _chat(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Piece]:
    """The whole conversation as the template writes it, cut where the template would let the model begin and end."""
    whole = _rendered(tokenizer, messages)
    at = 0
    for position, message in enumerate(messages):
        if not _answers(message):
            continue
        prompt = _rendered(tokenizer, messages[:position], add_generation_prompt=True)
        response = _response(whole, prompt, _rendered(tokenizer, messages[: position + 1]), message["content"].strip())
        yield Piece(whole[at : len(prompt)])
        yield Piece(response, True)
        at = len(prompt) + len(response)
    yield Piece(whole[at:])


def _response(whole: str, prompt: str, until: str, content: str) -> str:
    """What the template writes of a response after its prompt, the end of the turn included.

    prompt, until: the conversation before the response and with it. Templates that show a thought of the last
    response only write an earlier one differently in the whole; the content and what ends the turn stay.
    """
    if whole.startswith(prompt) and until.startswith(prompt):
        if whole.startswith(until):
            return until[len(prompt) :]
        found = until.rfind(content)
        written = until[found:]
        if found >= len(prompt) and whole.startswith(written, len(prompt)):
            return written
    raise RowError("chat_template", "the template writes a conversation's beginning and its whole differently")


def _rendered(tokenizer: Any, messages: Sequence[Message], **options: bool) -> str:
    from jinja2 import TemplateError

    given = [{"role": message["role"], "content": message["content"]} for message in messages]
    try:
        return tokenizer.apply_chat_template(given, tokenize=False, **options)
    except (TemplateError, TypeError, IndexError) as error:  # what a template raises that is given what it is not for
        raise RowError("chat_template", f"{type(error).__name__}: {error}") from error


WRITTEN: Mapping[Template, Callable[[Any, Sequence[Message]], Iterator[Piece]]] = {
    "tulu": _tulu,
    "tulu_prefixes": _tulu,
    "alpaca": _alpaca,
    "chat": _chat,
    "plain": _plain,
}


def chat_template(tokenizer: Any, template: Template) -> str | None:
    """The template as Jinja, with which a model that was trained on it is asked; None for what is not ours to write.

    What it renders, for a model to go on from, has the tokens of a trained sample up to its response; of later turns
    a tokenizer that puts a blank before every text may add one.
    """
    begins = "{{ bos_token }}" if Supervision(tokenizer, template, 1).begins else ""
    return {"tulu": begins + TULU, "tulu_prefixes": begins + TULU, "alpaca": begins + ALPACA}.get(template)


# Jinja drops the line break behind a block, so that every line break is written out.
TULU = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

ALPACA = (
    "{% if not messages or messages[0]['role'] != 'system' %}{{ '" + PREAMBLE + "' }}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '\n\n### Response:' + message['content'] + eos_token }}{% elif message['role'] == 'user' %}"
    "{{ '\n\n### Instruction:\n' + message['content'] }}{% else %}"
    "{{ ('' if loop.first else '\n\n') + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\n### Response:' }}{% endif %}"
)
