"""The judge: a language model rates each sample by a prompt's rubric.

    Judge(prompt=Prompt("alpagasus"), dimension="accuracy")        # the number on the first line of the reply
    Judge(prompt=Prompt("/my/rubric.txt"), form="expectation", lowest=1, highest=5)

A reply that holds no rating is no number: it has an outcome (empty, no_number, out_of_scale ...), which recipes drop
and count. Where the prompt asks for a {dimension}, its name may stand before the number, as a word for "score" may.
The reply itself is kept beside the rating.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field as Limits
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from operators import sample
from operators.asking import ratings
from operators.asking.asking import Asking
from operators.asking.language_model import Answer, Manner, Question
from operators.asking.prompt import Prompt, control_tokens, opened
from operators.asking.ratings import THOUGHT, Rating
from operators.base import STRICT
from operators.sample import Message

TEXTS = ("instruction", "response")
SETTINGS = ("dimension", "lowest", "highest")
STEPS = 64
"""At most so many ratings on a scale that a JSON schema lists."""

LABELS = 10
"""Ratings from 0 to 9 are a digit, which most tokenizers have as one token."""

Form = Literal["line", "json", "expectation", "alpagasus", "lift"]


@dataclass(frozen=True, config=STRICT)
class Judge(Asking):
    """A rating a sample: a struct of score (null without one), outcome, digit_mass, reply, cut and control_tokens."""

    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("messages", "raw")
    gives: ClassVar[pa.DataType] = pa.struct(
        [
            ("score", pa.float64()),
            ("outcome", pa.string()),
            ("digit_mass", pa.float64()),
            ("reply", pa.string()),
            ("cut", pa.bool_()),
            ("control_tokens", pa.bool_()),
        ]
    )

    prompt: Prompt = Prompt("alpagasus")
    """The rubric: a name in operators/prompts or the path of a text file."""
    dimension: str = "accuracy"
    """What is rated, where the prompt says {dimension}."""
    lowest: float = 0.0
    highest: float = 5.0
    step: float = Limits(default=0.5, gt=0)
    """The distance of neighbouring ratings, where the form lists them."""
    form: Form = "line"
    """How the rating is read. line: the number on the first line of the reply. json: a reply bound to {"score": one of
    the scale's ratings}. expectation: the mean of the whole ratings by their probability as the first token, one token
    generated; digit_mass is what they have of it together. alpagasus, lift: as the released code of each reads it."""

    @model_validator(mode="after")
    def _scale(self) -> "Judge":
        if not (math.isfinite(self.lowest) and math.isfinite(self.highest) and self.lowest < self.highest):
            raise ValueError(f"lowest {self.lowest:g} must be below highest {self.highest:g}")
        if self.form == "json" and not 0 < (self.highest - self.lowest) / self.step <= STEPS:
            raise ValueError(f"step {self.step:g} makes no scale of at most {STEPS} ratings for form=json")
        if self.form == "expectation" and not (self.lowest >= 0 and self.highest < LABELS):
            raise ValueError("form=expectation reads one digit: the scale must lie between 0 and 9")
        return self

    def check(self) -> None:
        """ModelMissing where nobody answers; ValueError where the prompt is missing or does not fit."""
        self.prompt.template().check(TEXTS, offered=("input", *SETTINGS))
        super().check()

    def manner(self) -> Manner:
        """One token for the expectation, a bound reply for json, else free text."""
        manner = super().manner()
        if self.form == "expectation":
            return replace(manner, max_tokens=1, labels=self.labels())
        if self.form == "json":
            rating = {"type": "number", "enum": self._listed()}
            return replace(
                manner,
                schema={
                    "type": "object",
                    "properties": {"score": rating},
                    "required": ["score"],
                    "additionalProperties": False,
                },
            )
        return manner

    def labels(self) -> tuple[str, ...]:
        """The digits of the scale."""
        return tuple(str(digit) for digit in range(math.ceil(self.lowest), math.floor(self.highest) + 1))

    def _listed(self) -> list[float]:
        count = int((self.highest - self.lowest) / self.step + 1e-9) + 1
        ratings = [self.lowest + self.step * at for at in range(count)]
        return [int(rating) if rating == int(rating) else rating for rating in ratings]

    def question(self, row: Mapping[str, Any]) -> Question:
        """The rubric, then the sample; where it is too long the response is cut first."""
        found = sample.triplet(row["messages"], row["raw"])
        template = opened(self.prompt)
        settings = {"dimension": self.dimension, "lowest": f"{self.lowest:g}", "highest": f"{self.highest:g}"}

        def render(texts: Mapping[str, str], tokens: Sequence[str]) -> list[Message]:
            shown = texts if "input" in template.names else joined(texts)
            return template.messages(shown, settings, tokens)

        return Question({"response": found.response, "input": found.input, "instruction": found.instruction}, render)

    def value(self, row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """The rating that a reply makes, and the reply."""
        rating, mass = self._read(answer), math.fsum(answer.masses.values()) if self.form == "expectation" else None
        texts = sample.triplet(row["messages"], row["raw"])
        return {
            "score": rating.score,
            "outcome": rating.outcome,
            "digit_mass": mass,
            "reply": answer.text,
            "cut": answer.cut,
            "control_tokens": any(control_tokens(text) for text in texts),
        }

    def unanswered(self, answer: Answer) -> bool:
        """Whether the tokens ended before there was a rating; of an expectation's one token that cannot be said."""
        if self.form == "expectation":
            return False
        return super().unanswered(answer) or self._read(answer).outcome == "unfinished"

    def _read(self, answer: Answer) -> Rating:
        scale = self.lowest, self.highest
        # What the prompt does not ask for may be the beginning of a quotation, or one part of the rating.
        asked = self.dimension if "dimension" in opened(self.prompt).names else ""
        match self.form:
            case "expectation":
                thinks = THOUGHT.match(answer.text.lstrip())
                return Rating(None, "no_digit") if thinks else expectation(answer.masses)
            case "json":
                return ratings.json_score(answer.text, *scale, asked, answer.finished)
            case "alpagasus":
                return ratings.published_alpagasus(answer.text)
            case "lift":
                return ratings.published_lift(answer.text)
            case _:
                return ratings.first_line(answer.text, *scale, asked, answer.finished)


def joined(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts with the input put after the instruction, for a prompt that has no place of its own for it."""
    asked = "\n".join(text for text in (texts["instruction"], texts["input"]) if text)
    return {"instruction": asked, "response": texts["response"]}


def expectation(masses: Mapping[str, float]) -> Rating:
    """The mean of the labels' numbers by their probabilities, which are normalised; no_digit where they have none."""
    total = math.fsum(masses.values())
    if not total > 0:
        return Rating(None, "no_digit")
    return Rating(math.fsum(int(label) * mass for label, mass in masses.items()) / total, "")
