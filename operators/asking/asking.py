"""Asking a language model about samples: vLLM in the worker, or any OpenAI-compatible server.

An operator that asks turns each sample into a `Question` and each `Answer` into a value. The field `endpoint` says who
answers:

    Judge(model=Checkpoint("Qwen/Qwen3-8B"))                                      # vLLM, one engine per worker
    Judge(model=Checkpoint("gpt-4o-mini"), endpoint="https://api.openai.com/v1")  # a server; key in OPENAI_API_KEY

The identity of a value is what is asked and the model that answers. A local model is identified by its content, a
model of a server by the name that the server gives it (and by `revision`, which can tell two models of one name apart).
The address of the server and the rate of requests are not part of the identity, so a server that moved is not asked
again.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.asking.access import check_server
from operators.asking.endpoint import Endpoint, Server
from operators.asking.language_model import (
    Answer,
    AnswerOrError,
    LanguageModel,
    Manner,
    OutOfTokens,
    Question,
    Thinking,
)
from operators.asking.local_model import LocalModel
from operators.asking.ratings import answers
from operators.base import STRICT, Arrivals, Arriving, RowError
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing

Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0)]

FIRST_REPLIES = 20
"""A map ends where this many first replies contain no answer."""
ROOM = 2048
"""A number of tokens in which most models that think first reach the answer to a question about one sample."""

ROUNDS = 8
"""The questions of a batch for each request that may be open. A server may take a minute for an answer, and a worker
that finishes no batch for long is taken for stuck."""


@dataclass(frozen=True, config=STRICT)
class Asking(Arriving):
    """An operator that asks a language model one question per sample."""

    elsewhere: ClassVar[tuple[str, ...]] = ("endpoint", "concurrency", "requests_a_minute", "timeout")
    """Fields that say where and how fast to ask, not what; they are not part of the identity."""

    model: Checkpoint = Checkpoint("Qwen/Qwen3-4B-Instruct-2507")
    endpoint: str = ""
    """The URL of an OpenAI-compatible server, up to and including /v1; empty for vLLM in the worker."""
    concurrency: int = Field(default=32, ge=1)
    """Requests to a server that are open at the same time."""
    requests_a_minute: float | None = Field(default=None, gt=0)
    """The maximum number of requests per minute to a server; None for no limit."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds that a server may take for one answer, with all attempts."""
    context: Annotated[int, Field(ge=16)] | None = None
    """Tokens of question and answer together; None for the model's own limit. Longer samples are cut, and flagged."""
    max_tokens: Count = 32
    """The maximum number of tokens of an answer, including the thinking before it."""
    thinking: Thinking = "off"
    """Whether the model thinks before it answers. off: its chat template is asked not to; a server that does not take
    that option is asked without it. default: the chat template decides, and max_tokens has to leave room for it."""
    temperature: Temperature = 0.0
    seed: int = Field(default=0, ge=0)

    def identity(self) -> dict[str, Any]:
        """The fields that say what is asked of which model."""
        asked = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in self.elsewhere}
        if self.endpoint:
            asked["model"] = {"served": self.model.name, "revision": self.model.revision}
        return asked

    def settings(self) -> dict[str, Any]:
        """The fields that every operator of this kind has, for another one that asks the same model."""
        return {each.name: getattr(self, each.name) for each in fields(Asking)}

    def most_workers(self) -> int | None:
        """1 for a server, so that concurrency and the rate limit are those that the fields say."""
        return 1 if self.endpoint else None

    def most_rows(self, seconds: float) -> int | None:
        """For a server as many as it answers in this time at its rate limit, and at most ROUNDS per open request."""
        if not self.endpoint:
            return None
        limit = math.inf if self.requests_a_minute is None else self.requests_a_minute * seconds / 60
        return max(1, int(min(limit, ROUNDS * self.concurrency)))

    def uses_gpus(self) -> bool:
        """Not where a server answers: its GPUs are not those of the worker."""
        return not self.endpoint

    def advice(self, kind: str, column: str) -> str:
        """Names the field that says how fast a server is asked, where it was too fast for the server."""
        slower = {
            "rate_limit": f"set {column}.requests_a_minute to what the server allows",
            "timeout": f"set {column}.concurrency lower or {column}.timeout higher",
        }
        return f"{slower[kind]} and run again with --retry-errors" if kind in slower else ""

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there, and where no server answers or it refuses the key."""
        if self.endpoint:
            check_server(self.endpoint)
            return
        try:
            self.model.check()
        except ModelMissing as error:
            raise ModelMissing(f"{error}; or, for a model that a server has, give its endpoint") from None

    def manner(self) -> Manner:
        """How answers are sampled."""
        return Manner(self.max_tokens, self.temperature, self.seed, self.thinking)

    @abstractmethod
    def question(self, row: Mapping[str, Any]) -> Question | RowError:
        """The question about a sample; row: `id` and the columns that `reads` lists."""

    @abstractmethod
    def value(self, row: Mapping[str, Any], answer: Answer) -> Any:
        """The value that an answer gives, or a RowError."""

    def unanswered(self, answer: Answer) -> bool:
        """Whether the reply was cut before it contained an answer."""
        return not answer.finished and not any(piece.strip() for piece in answers(answer.text))

    def language_model(self) -> LanguageModel:
        """The model that answers, opened in this process."""
        if self.endpoint:
            return Endpoint(
                Server(self.endpoint, self.model.name, self.concurrency, self.requests_a_minute, self.timeout)
            )
        return LocalModel(self.model.folder(), self.context)

    def load(self) -> Arrivals:
        """A function from a batch to its values, in groups as they are answered; it opens the model.

        The function raises OutOfTokens where each of the first 20 replies was cut before it contained an answer; the
        others would be too.
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
    """The replies of a worker up to the first that contains an answer."""

    def __init__(self, operator: Asking) -> None:
        self.operator = operator
        self.unanswered: list[str] = []
        self.ended = False

    def add(self, replies: Iterable[AnswerOrError]) -> None:
        """Takes in a group of replies."""
        for answer in replies:
            if not self.ended and isinstance(answer, Answer):
                self.ended = not self.operator.unanswered(answer)
                self.unanswered.append(answer.text)

    def check(self) -> None:
        """Raises OutOfTokens where there are FIRST_REPLIES of them and none contains an answer."""
        if self.ended or len(self.unanswered) < FIRST_REPLIES:
            return
        limit = self.operator.manner().max_tokens
        begins = " ".join(max(self.unanswered, key=len)[:200].split())
        raise OutOfTokens(
            f"all of the first {len(self.unanswered)} replies were cut at {limit:,} tokens, before there was an "
            f"answer in them; one begins: {begins or '(nothing)'}",
            max(ROOM, 4 * limit),
        )
