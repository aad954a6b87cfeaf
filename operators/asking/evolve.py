"""DEITA's evolution: a language model makes variants of a sample, each from the one before, and scores them together.

    Evolve(dimension="complexity", step=1)       # the first variant of an instruction, more complex than it
    Compare(dimension="complexity", attempt=0)   # a score for each variant, all in one prompt

The samples of these operators are chains: the variants so far, as one conversation. For complexity all messages are
the user's: the instruction and its variants in order. For quality the user's instruction comes first, and the
assistant's response and its variants follow (Liu et al. 2024, arXiv 2312.15685, sections 2.2 and 2.3; the prompts are
our own). A chain is never cut to fit the context of the model, because the scores would be those of other texts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.asking.asking import Asking, Count, Temperature
from operators.asking.language_model import Answer, Manner, Question
from operators.asking.prompt import Prompt, Texts, opened
from operators.asking.rankings import rankings, shuffled, unshuffled
from operators.asking.respond import encodable, generated
from operators.asking.rewrite import BLOCK_LINE
from operators.base import STRICT, RowError
from operators.sample import Message, text_sha
from operators.scoring.scorer import scored_turns
from operators.scripts import in_another_script

Dimension = Literal["complexity", "quality"]

METHODS: dict[Dimension, tuple[str, ...]] = {
    "complexity": ("constraint", "deepen", "concretise", "reasoning"),
    "quality": ("helpfulness", "relevance", "depth", "creativity", "detail"),
}
"""The methods of evolving; the prompt of each is deita_<dimension>_<method>."""

EVOLVES: dict[Dimension, str] = {"complexity": "user", "quality": "assistant"}
"""The role of the messages that are variants."""

WITHOUT_TEXT = ("empty", "unfinished", "garbled")
"""The outcomes of a step that made no variant; the next step starts from the last variant."""

LEAKED = ("given instruction", "given response", "new instruction", "new response", "rewritten instruction",
          "rewritten response")  # fmt: skip
REFUSAL = re.compile(
    r"\W*(?:(?:i['’]?m|i am) (?:very |so |really )?(?:sorry|afraid|unable)|sorry[,.]|i (?:cannot|can['’]?t|won['’]?t)\b"
    r"|i must decline|as an ai\b|抱歉|对不起|對不起|很抱歉|非常抱歉|我无法|我無法|我不能|作为一个?(?:人工智能|ai)"
    r"|申し訳|すみません|죄송|lo siento|lo lamento|je suis désolée?|désolée?[,.]|es tut mir leid|tut mir leid"
    r"|ich kann (?:das |diese[rs]? \w+ )?nicht|desculpe|sinto muito|mi dispiace|извините|простите|к сожалению, я"
    r"|آسف|عذرا|أعتذر|क्षमा करें|माफ़ कीजिए|üzgünüm|przykro mi|xin lỗi|maaf[,.])",
    re.IGNORECASE,
)
NO_VARIANT = RowError("empty_text", "the chain has no text to evolve or to rate")


@dataclass(frozen=True, config=STRICT)
class Evolve(Asking):
    """The next variant of a chain: a struct of text, method and outcome.

    The method is drawn uniformly by seed, step and chain. The outcomes of a step without a text are `empty`,
    `unfinished` and `garbled`. The other outcomes are flags on a text that is kept: `unchanged` (apart from blanks and
    case), `leaked` (it speaks of the prompt), `refused` (it begins like a refusal and its parent does not) and
    `other_script`.
    """

    gives: ClassVar[pa.DataType] = pa.struct([("text", pa.string()), ("method", pa.string()), ("outcome", pa.string())])

    dimension: Dimension = "complexity"
    step: int = Field(default=1, ge=1)
    temperature: Temperature = 0.5
    max_tokens: Count = 1024

    @classmethod
    def by(cls, rewriter: Asking, dimension: Dimension, step: int) -> "Evolve":
        """The operator of a step, with the settings of the rewriter."""
        return cls(**rewriter.settings(), dimension=dimension, step=step)

    def identity(self) -> dict[str, Any]:
        """The fields, and the content of the prompts."""
        return {**super().identity(), "prompts": [self.prompt(method) for method in METHODS[self.dimension]]}

    def prompt(self, method: str) -> Prompt:
        """The prompt of a method."""
        return Prompt(f"deita_{self.dimension}_{method}")

    def method(self, messages: Sequence[Message]) -> str:
        """The method for a chain."""
        methods = METHODS[self.dimension]
        return methods[shuffled(len(methods), f"{self.seed} {self.step} {text_sha(messages).hex()}")[0]]

    def question(self, row: Mapping[str, Any]) -> Question | RowError:
        """The rules of the method, then the last variant; for quality with its instruction."""
        messages = row["messages"]
        if not variants(messages, self.dimension):
            return NO_VARIANT
        last = messages[-1]["content"]
        texts = {"instruction": last}
        if self.dimension == "quality":
            texts = {"instruction": messages[0]["content"], "response": last}
        return uncut(self.prompt(self.method(messages)), texts)

    def unanswered(self, answer: Answer) -> bool:
        """Whether the variant was cut, and is therefore lost."""
        return not answer.finished

    def value(self, row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """The struct of an answer."""
        text, outcome = generated(answer)
        if outcome:
            text = ""
        else:
            outcome = flag(row["messages"][-1]["content"], text)
        return {"text": text, "method": self.method(row["messages"]), "outcome": outcome}


@dataclass(frozen=True, config=STRICT)
class Compare(Asking):
    """A judge's scores of a chain's variants: a struct of scores, outcomes, order, finished and reply.

    scores and outcomes are by variant, as `rankings` returns them. order is the variant at each place, drawn by seed,
    attempt and chain. Each further attempt allows twice as many tokens.
    """

    version: ClassVar[int] = 3
    earlier: ClassVar[tuple[int, ...]] = (2,)
    gives: ClassVar[pa.DataType] = pa.struct(
        [
            ("scores", pa.list_(pa.int64())),
            ("outcomes", pa.list_(pa.string())),
            ("order", pa.list_(pa.int64())),
            ("finished", pa.bool_()),
            ("reply", pa.string()),
        ]
    )

    dimension: Dimension = "complexity"
    attempt: int = Field(default=0, ge=0)
    max_tokens: Count = 256

    @classmethod
    def by(cls, judge: Asking, dimension: Dimension, attempt: int) -> "Compare":
        """The operator of an attempt, with the settings of the judge."""
        return cls(**judge.settings(), dimension=dimension, attempt=attempt)

    def identity(self) -> dict[str, Any]:
        """The fields, and the content of the prompt."""
        return {**super().identity(), "prompt": self.prompt()}

    def prompt(self) -> Prompt:
        """The rubric."""
        return Prompt(f"deita_rank_{self.dimension}")

    def still_valid(self, values: pa.Array) -> np.ndarray:
        """Whether each value is what this version reads, which finds some scores that were missing."""
        outcomes = pc.struct_field(values, "outcomes").to_pylist()
        return np.array(["missing" not in (each or ["missing"]) for each in outcomes], bool)

    def manner(self) -> Manner:
        """The manner of the fields, with max_tokens doubled per attempt."""
        return replace(super().manner(), max_tokens=self.max_tokens * 2**self.attempt)

    def order(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The variant at each place."""
        return shuffled(
            len(variants(messages, self.dimension)), f"{self.seed} {self.attempt} {text_sha(messages).hex()}"
        )

    def question(self, row: Mapping[str, Any]) -> Question | RowError:
        """The rubric, then the variants in the order of the attempt; for quality with their instruction."""
        messages = row["messages"]
        found = variants(messages, self.dimension)
        if not found:
            return NO_VARIANT
        texts: dict[str, Any] = {"variants": [found[variant] for variant in self.order(messages)]}
        if self.dimension == "quality":
            texts["instruction"] = messages[0]["content"]
        return uncut(self.prompt(), texts)

    def value(self, row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """The struct of an answer; scores and outcomes are in the order of the variants."""
        order = self.order(row["messages"])
        ranking = rankings(answer.text, len(order), self.dimension, answer.finished)
        return {
            "scores": unshuffled(ranking.scores, order),
            "outcomes": unshuffled(ranking.outcomes, order),
            "order": list(order),
            "finished": answer.finished,
            "reply": encodable(answer.text),
        }


def first_chain(messages: Sequence[Message], dimension: Dimension) -> list[Message] | None:
    """The chain with the first turn of a sample only; None where that turn lacks a text."""
    asked, answered = next(iter(scored_turns(messages, "drop")), ("", ""))
    begun: list[Message] = [{"role": "user", "content": asked}]
    if dimension == "quality":
        begun.append({"role": "assistant", "content": answered})
    return begun if all(message["content"].strip() for message in begun) else None


def longer_chain(messages: Sequence[Message], text: str, dimension: Dimension) -> list[Message]:
    """The chain with one more variant."""
    return [*messages, {"role": EVOLVES[dimension], "content": text}]


def variants(messages: Sequence[Message], dimension: Dimension) -> list[str]:
    """The variants in a chain, in order; the first is the text of the sample."""
    return [message["content"] for message in messages if message["role"] == EVOLVES[dimension]]


def uncut(prompt: Prompt, texts: Texts) -> Question:
    """The question of a prompt with these texts, none of which may be cut."""
    template = opened(prompt)

    def render(_: Mapping[str, str], tokens: Sequence[str]) -> list[Message]:
        return template.messages(texts, {}, tokens)

    return Question({}, render)


def flag(old: str, new: str) -> str:
    """The flag of a variant, given its parent; empty for none."""
    if "".join(old.split()).casefold() == "".join(new.split()).casefold():
        return "unchanged"
    if BLOCK_LINE.search(new) or any(words in new.lower() and words not in old.lower() for words in LEAKED):
        return "leaked"
    if REFUSAL.match(new) and not REFUSAL.match(old):
        return "refused"
    return "other_script" if in_another_script(old, new) else ""
