"""The judge: a language model that rates each sample by the rubric of a prompt.

    Judge(prompt=Prompt("alpagasus"), dimension="accuracy")        # the number on the first line of the reply
    Judge(prompt=Prompt("/my/rubric.txt"), form="expectation", lowest=1, highest=5)

A reply without a rating has no score but an outcome (empty, no_number, out_of_scale ...); recipes drop and count such
samples. The number may follow a word for "score" or, where the prompt has a {dimension}, its name, and it may be stated
in other forms, such as "Rating (0-5): 4.5" and "4.5 stars". The reply is kept with the rating.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
"""The maximum number of ratings that a JSON schema lists."""

LABELS = 10
"""Ratings below this number are one digit, which is one token in most tokenizers."""

Form = Literal["line", "json", "expectation", "alpagasus", "lift"]


@dataclass(frozen=True, config=STRICT)
class Judge(Asking):
    """One rating per sample: a struct of score (null without one), outcome, digit_mass, reply, cut, control_tokens."""

    version: ClassVar[int] = 3
    earlier: ClassVar[tuple[int, ...]] = (2,)
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
    """The value of {dimension} in the prompt: what is rated."""
    lowest: float = 0.0
    highest: float = 5.0
    step: float = Limits(default=0.5, gt=0)
    """The difference between neighbouring ratings, where the form lists them."""
    form: Form = "line"
    """How the rating is read. line: the number on the first line of the reply. json: a reply that has to be {"score":
    one of the ratings of the scale}. expectation: the mean of the whole ratings, weighted by their probability as the
    first token; only one token is generated, and digit_mass is the sum of the probabilities. alpagasus, lift: as the
    released code of each reads it."""

    @model_validator(mode="after")
    def _scale(self) -> "Judge":
        if not (math.isfinite(self.lowest) and math.isfinite(self.highest) and self.lowest < self.highest):
            raise ValueError(f"lowest {self.lowest:g} must be below highest {self.highest:g}")
        if self.form == "json" and not 0 < (self.highest - self.lowest) / self.step <= STEPS:
            raise ValueError(f"step {self.step:g} makes no scale of at most {STEPS} ratings for form=json")
        if self.form == "expectation" and not (self.lowest >= 0 and self.highest < LABELS):
            raise ValueError("form=expectation reads one digit: the scale must lie between 0 and 9")
        if self.form == "expectation" and len(self.labels()) < 2:
            raise ValueError(
                f"form=expectation: the scale {self.lowest:g} to {self.highest:g} has no two whole ratings"
            )
        return self

    def still_valid(self, values: pa.Array) -> np.ndarray:
        """Whether each value is what this version reads: every rating is, and version 3 finds some more on lines."""
        if self.form != "line":
            return np.ones(len(values), bool)
        outcomes = pc.call_function("struct_field", [values], pc.StructFieldOptions("outcome"))
        return np.array([each == "" for each in outcomes.to_pylist()], bool)

    def check(self) -> None:
        """ModelMissing where no model would answer; ValueError where the prompt is missing or lacks a placeholder."""
        self.prompt.template().check(TEXTS, offered=("input", *SETTINGS))
        super().check()

    def manner(self) -> Manner:
        """One token for expectation, a JSON schema for json, else free text."""
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
        # Rounded, as the model has to write what is listed: 3 * 0.1 is 0.30000000000000004.
        ratings = [round(self.lowest + self.step * at, 9) for at in range(count)]
        return [int(rating) if rating == int(rating) else rating for rating in ratings]

    def question(self, row: Mapping[str, Any]) -> Question:
        """The rubric, then the sample; where the prompt is too long, the response is cut first."""
        found = sample.triplet(row["messages"], row["raw"])
        template = opened(self.prompt)
        settings = {"dimension": self.dimension, "lowest": f"{self.lowest:g}", "highest": f"{self.highest:g}"}

        def render(texts: Mapping[str, str], tokens: Sequence[str]) -> list[Message]:
            shown = texts if "input" in template.names else joined(texts)
            return template.messages(shown, settings, tokens)

        return Question({"response": found.response, "input": found.input, "instruction": found.instruction}, render)

    def value(self, row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """The struct of an answer."""
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
        """Whether the reply was cut before a rating; False for expectation, whose one token cannot show it."""
        if self.form == "expectation":
            return False
        return super().unanswered(answer) or self._read(answer).outcome == "unfinished"

    def _read(self, answer: Answer) -> Rating:
        scale = self.lowest, self.highest
        # A dimension that is not in the prompt may be the beginning of a quotation, or one part of the rating.
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
                found = ratings.first_line(answer.text, *scale, asked, answer.finished)
                if answer.finished and found.outcome == "unfinished":
                    # Servers that look for thinking return a whole answer as such where the model did not think.
                    said = ratings.first_line(THOUGHT.sub("", answer.text, count=1), *scale, asked)
                    return said if said.score is not None else found
                return found


def joined(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts with the input appended to the instruction, for a prompt without an {input}."""
    asked = "\n".join(text for text in (texts["instruction"], texts["input"]) if text)
    return {"instruction": asked, "response": texts["response"]}


def expectation(masses: Mapping[str, float]) -> Rating:
    """The mean of the labels' numbers, weighted by their normalised probabilities; no_digit where all are 0."""
    total = math.fsum(masses.values())
    if not total > 0:
        return Rating(None, "no_digit")
    return Rating(math.fsum(int(label) * mass for label, mass in masses.items()) / total, "")
