"""Asking a language model about samples: vLLM in the worker, or any OpenAI-compatible server.

An operator that asks turns each sample into a `Question` and each `Answer` into a value. Who answers is one field:

    Judge(model=Checkpoint("Qwen/Qwen3-8B"))                                      # vLLM, one engine a worker
    Judge(model=Checkpoint("gpt-4o-mini"), endpoint="https://api.openai.com/v1")  # a server; key in OPENAI_API_KEY

What is asked identifies a value, and the model that answers: of a local one its content, of a server the name it
gives the model (with the `revision`, where you set one to tell two models of one name apart). Where the server is
and how fast it may be asked do not, so that a server that moved is not asked again.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields, replace
from typing import Annotated, Any, ClassVar, Literal, Protocol

import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.asking.ratings import answers
from operators.base import STRICT, Arrivals, Arriving, RowError
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.sample import Message

Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0)]

FIRST_REPLIES = 20
"""So many replies, none of which came to an answer, end a map."""
ROOM = 2048
"""Tokens in which most models that think before they answer come to the answer of a question about one sample."""

Thinking = Literal["off", "default"]

Render = Callable[[Mapping[str, str], Sequence[str]], list[Message]]
"""Messages from a sample's texts, given the token strings that must not be read as control tokens."""


@plain_dataclass(frozen=True)
class Question:
    """What is asked about one sample: its texts, and how messages are made of them."""

    texts: Mapping[str, str]
    """The sample's own texts by name, in the order in which they may be cut where the context is too short."""
    render: Render
    cut: bool = False
    """Whether a text has been cut."""

    def shorter(self, characters: int) -> "Question | None":
        """The question with so many characters less at the end of the first text that has any; None if none has."""
        for name, text in self.texts.items():
            if text:
                return replace(self, texts={**self.texts, name: text[: max(0, len(text) - characters)]}, cut=True)
        return None


@plain_dataclass(frozen=True)
class Answer:
    """What the model said."""

    text: str
    finished: bool
    """False where it was cut at the most tokens allowed."""
    cut: bool
    """Whether the question had to be cut."""
    masses: Mapping[str, float]
    """The probability of each label that was asked for to be the first token."""


@plain_dataclass(frozen=True)
class Manner:
    """How an answer is drawn."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    thinking: Thinking = "off"
    labels: tuple[str, ...] = ()
    """Single tokens whose probability as the first token is wanted; the answer is then that one token."""
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the answer is bound to."""


Outcome = Answer | RowError


def template_options(thinking: Thinking) -> dict[str, bool]:
    """What a chat template is given: the names that Qwen's and DeepSeek's go by; others ignore them."""
    return {"enable_thinking": False, "thinking": False} if thinking == "off" else {}


class OutOfTokens(Exception):
    """None of the first replies came to an answer within the tokens allowed."""

    def __init__(self, said: str, tokens: int):
        super().__init__(said, tokens)
        self.said = said
        self.tokens = tokens
        """More tokens than those, to try with."""


class LanguageModel(Protocol):
    """Whoever answers."""

    def answers(self, questions: Sequence[Question], manner: Manner) -> Iterator[dict[int, Outcome]]:
        """The answers by the position of their question, in lots as they come; each question once."""
        ...


@dataclass(frozen=True, config=STRICT)
class Asking(Arriving):
    """An operator that asks a language model one question a sample."""

    elsewhere: ClassVar[tuple[str, ...]] = ("endpoint", "concurrency", "requests_a_minute", "timeout")
    """Fields that say where and how fast, not what: they are no part of the identity."""

    model: Checkpoint = Checkpoint("Qwen/Qwen3-4B-Instruct-2507")
    endpoint: str = ""
    """The URL of an OpenAI-compatible server, up to and with /v1; empty for vLLM in the worker."""
    concurrency: int = Field(default=32, ge=1)
    """Requests under way at a time, of a server."""
    requests_a_minute: float | None = Field(default=None, gt=0)
    """At most so many requests a minute to a server; None for no limit."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds that a server may take for one answer."""
    context: Annotated[int, Field(ge=16)] | None = None
    """Tokens of question and answer together; None for what the model has. Longer samples are cut, and flagged."""
    max_tokens: Count = 32
    """Tokens of an answer, and of the thinking before it."""
    thinking: Thinking = "off"
    """Whether the model thinks before it answers. off: its chat template is told not to; a server that does not take
    that option is asked without it. default: nothing is said of it, and max_tokens has to leave room for it."""
    temperature: Temperature = 0.0
    seed: int = Field(default=0, ge=0)

    def identity(self) -> dict[str, Any]:
        """The fields that say what is asked of which model."""
        asked = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in self.elsewhere}
        if self.endpoint:
            asked["model"] = {"served": self.model.name, "revision": self.model.revision}
        return asked

    def most_workers(self) -> int | None:
        """One for a server: concurrency and rate limit are then what the fields say."""
        return 1 if self.endpoint else None

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there, or no server answers or it refuses the key."""
        if not self.endpoint:
            try:
                self.model.check()
            except ModelMissing as error:
                raise ModelMissing(f"{error}; or, for a model that a server has, give its endpoint") from None
            return
        from operators.asking.endpoint import check

        check(self.endpoint)

    def manner(self) -> Manner:
        """How answers are drawn."""
        return Manner(self.max_tokens, self.temperature, self.seed, self.thinking)

    @abstractmethod
    def question(self, row: Mapping[str, Any]) -> Question | RowError:
        """What is asked about a sample, given what `reads` names of it."""

    @abstractmethod
    def value(self, row: Mapping[str, Any], answer: Answer) -> Any:
        """The value, or a RowError, that an answer makes."""

    def unanswered(self, answer: Answer) -> bool:
        """Whether the tokens ended before there was an answer."""
        return not answer.finished and not any(piece.strip() for piece in answers(answer.text))

    def language_model(self) -> LanguageModel:
        """Who answers, opened in this process."""
        if self.endpoint:
            from operators.asking.endpoint import Endpoint

            return Endpoint(self.endpoint, self.model.name, self.concurrency, self.requests_a_minute, self.timeout)
        from operators.asking.local_model import LocalModel

        return LocalModel(self.model.folder(), self.context)

    def load(self) -> Arrivals:
        """Opens the model; a batch's values come lot by lot as they are answered.

        OutOfTokens where the first 20 replies all ended before there was an answer: so would the others.
        """
        model, manner, first = self.language_model(), self.manner(), FirstReplies(self)

        def compute(batch: pa.Table) -> Iterator[Mapping[int, Any]]:
            first.check()
            rows = batch.select(["id", *self.reads]).to_pylist()
            asked = [self.question(row) for row in rows]
            refused = {at: each for at, each in enumerate(asked) if isinstance(each, RowError)}
            if refused:
                yield refused
            places = [at for at in range(len(rows)) if at not in refused]
            questions = [each for each in asked if isinstance(each, Question)]
            for lot in model.answers(questions, manner) if questions else ():
                first.add(lot.values())
                yield {
                    places[at]: answer if isinstance(answer, RowError) else self.value(rows[places[at]], answer)
                    for at, answer in lot.items()
                }
                first.check()

        return compute


class FirstReplies:
    """The replies of a worker up to the first one that came to an answer."""

    def __init__(self, operator: Asking) -> None:
        self.operator = operator
        self.unanswered: list[str] = []
        self.ended = False

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Takes in a lot."""
        for answer in outcomes:
            if not self.ended and isinstance(answer, Answer):
                self.ended = not self.operator.unanswered(answer)
                self.unanswered.append(answer.text)

    def check(self) -> None:
        """Raises OutOfTokens where there are enough of them, and not one came to an answer."""
        if self.ended or len(self.unanswered) < FIRST_REPLIES:
            return
        limit = self.operator.manner().max_tokens
        begins = " ".join(max(self.unanswered, key=len)[:200].split())
        raise OutOfTokens(
            f"all of the first {len(self.unanswered)} replies were cut at {limit:,} tokens, before there was an "
            f"answer in them; one begins: {begins or '(nothing)'}",
            max(ROOM, 4 * limit),
        )
