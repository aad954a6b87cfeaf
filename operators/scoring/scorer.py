"""DEITA's trained scorers: the complexity of an instruction, or the quality of a response, as a number.

    Scorer(model=Checkpoint("/models/complexity"))                    # with a scorer.json beside its config.json
    Scorer(model=..., template="... {instruction} ... {response} ... ", labels=("1", "2", "3", "4", "5", "6"))

A scorer is a causal language model that was trained to write one label after a filled template. The score is the
expected label: the sum of k * p_k, where p is the softmax over the logits of the labels only (Liu et al., "What Makes
Good Data for Alignment?", ICLR 2024, and its released scorer). Each turn is scored by itself, without history. Unlike
in the released code, a prompt over the limit is cut and flagged, and a sample without a score has an error instead of
3.0.
"""

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.models.precision import Precision
from operators.positions import refuse_too_many
from operators.sample import Message, said
from operators.scoring.scale import checked_label_ids, checked_labels, expected_labels
from operators.unknown import refuse_unreadable

if TYPE_CHECKING:
    from operators.scoring.windows import Tokens, Window

SETTINGS = "scorer.json"
"""The file beside a scorer's config.json: {"template": "...", "labels": ["1", ...]}."""

TEMPLATE_FIELDS = ("instruction", "response")


def checked_template(template: str) -> str:
    """The template, unchanged; ValueError where it has another field than instruction and response, or none."""
    named = _fields(template)
    unknown = sorted(named - set(TEMPLATE_FIELDS))
    if unknown or not named:
        found = f"unknown field {{{unknown[0]}}}" if unknown else "no field"
        raise ValueError(f"scorer template {template!r} has {found}; the fields are {', '.join(TEMPLATE_FIELDS)}")
    return template


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


@dataclass(frozen=True, config=STRICT)
class Scorer(Operator):
    """The score of each turn of a sample, and whether the prompt of a turn had to be cut."""

    version: ClassVar[int] = 2

    gives: ClassVar[pa.DataType | None] = pa.struct([("scores", pa.list_(pa.float64())), ("truncated", pa.bool_())])

    model: Checkpoint
    template: Annotated[str, AfterValidator(checked_template)] | None = None
    """The prompt before the label, with {instruction} and {response}; None: that of scorer.json."""
    labels: Annotated[tuple[str, ...], AfterValidator(checked_labels)] | None = None
    """The labels, each one token after the template; None: those of scorer.json."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The maximum number of tokens of a prompt; None: the positions of the model. The response is cut first, then the
    instruction."""
    turns: Literal["drop", "empty_response"] = "drop"
    """A last user message without an answer: drop, or, as in the released code, a turn with an empty response."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere."""

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there; ValueError where it has fewer positions than max_tokens."""
        self.model.check()
        refuse_too_many(self.model, self.max_tokens)

    def load(self) -> Compute:
        """A function from a batch to {"scores": one float per turn, "truncated": bool} or a RowError, per row.

        A sample has an error where one of its turns has no score. The kinds of error are no_turns, empty_text (the
        template is filled with blanks), unreadable (operators/unknown.py), no_score (a logit is not a number) and
        out_of_memory (a turn by itself is too long for the GPU). ValueError where neither the fields nor scorer.json
        give template and labels, where a label is not one token of its own after the template, and where max_tokens is
        more than the positions of the model or less than the template needs.
        """
        from transformers import AutoModelForCausalLM

        from operators.models import loading
        from operators.models.ahead import overlapped
        from operators.models.tokenized import values_of
        from operators.scoring.passes import label_passes
        from operators.scoring.windows import Window

        folder = self.model.folder()
        template, labels = self._settings(folder)
        tokenizer = loading.fast_tokenizer(folder)
        tokens_of_labels = checked_label_ids(tokenizer, template, labels)
        model = loading.placed_model(folder, AutoModelForCausalLM, self.precision)
        prompts = Prompts(template, Window(tokenizer, loading.token_limit(model, self.max_tokens)))
        prompts.refuse_no_room()
        passes = label_passes(model, tokens_of_labels)
        numbers = np.array([int(label) for label in labels])

        def tokenize(batch: pa.Table) -> "list[list[tuple[Tokens, bool]] | RowError]":
            return [prompts.attempted(scored_turns(each, self.turns)) for each in batch["messages"].to_pylist()]

        def values(samples: "list[list[tuple[Tokens, bool]]]") -> list[dict[str, Any] | RowError]:
            logits = iter(passes.logits([tokens for prompts_of_one in samples for tokens, _ in prompts_of_one]))
            return [_value(each, [next(logits) for _ in each], numbers) for each in samples]

        device = next(model.parameters()).device
        return overlapped(tokenize, lambda samples: values_of(samples, values), device.type)

    def _settings(self, folder: Path) -> tuple[str, tuple[str, ...]]:
        """Template and labels, from the fields or else from scorer.json; ValueError where one is in neither."""
        path = folder / SETTINGS
        written = _settings_in(path)
        template = self.template if self.template is not None else written.get("template")
        labels = self.labels if self.labels is not None else written.get("labels")
        if not isinstance(template, str):
            raise ValueError(
                f"no template: write one in {path} or set template=... to the text that the scorer was trained on"
            )
        if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"no labels: list them as strings in {path} or set labels=... to what the scorer writes")
        return checked_template(template), checked_labels(tuple(labels))


@plain_dataclass(frozen=True)
class Prompts:
    """The prompts of a scorer: its template, filled and fitted into the window of the model."""

    template: str
    window: "Window"

    def attempted(self, pairs: Sequence[tuple[str, str]]) -> "list[tuple[Tokens, bool]] | RowError":
        """The prompt of each turn and whether it was cut, or the reason why the sample has none."""
        if not pairs:
            return RowError("no_turns", "no user message with an answer")
        try:
            return [self.prompt(*pair) for pair in pairs]
        except RowError as error:
            return error

    def prompt(self, instruction: str, response: str) -> "tuple[Tokens, bool]":
        """The tokens, and whether the response, or after it the instruction, was cut at its end.

        RowError where the template is filled with blanks only, or with a text that the model cannot read.
        """
        # A text that is not in the template is neither cut nor flagged.
        shown = _fields(self.template)
        asked = instruction if "instruction" in shown else ""
        answered = response if "response" in shown else ""
        whole = (asked, answered)
        asked = self.window.bounded(asked)
        answered, tokens = self.window.fitted(answered, lambda text: self._tokens(asked, text))
        if self.window.exceeded(tokens) > 0:
            asked, tokens = self.window.fitted(asked, lambda text: self._tokens(text, answered))
        if not (asked + answered).strip():
            raise RowError("empty_text", "a turn has no text to score")
        refuse_unreadable(self.window.tokenizer, tokens["input_ids"], f"{asked}\n{answered}", answered)
        return tokens, (asked, answered) != whole

    def refuse_no_room(self) -> None:
        """ValueError where the template alone fills the window."""
        if self.window.limit is not None and self.window.exceeded(self._tokens("", "")) >= 0:
            raise ValueError(f"max_tokens={self.window.limit} leaves no room for a text in the scorer's template")

    def _tokens(self, instruction: str, response: str) -> "Tokens":
        text = self.template.format(instruction=instruction, response=response)
        return {"input_ids": self.window.tokenizer(text, verbose=False)["input_ids"]}


def scored_turns(messages: Sequence[Message], last: Literal["drop", "empty_response"]) -> list[tuple[str, str]]:
    """The (instruction, response) pairs of a conversation, by role and not by position.

    Successive messages of one role are joined by a newline. Other roles are left out, and so are messages of the
    assistant before the first of the user. last: whether a user message at the end is dropped or has an empty response.
    """
    spoken = [message for message in messages if message["role"] in ("user", "assistant")]
    runs = [(role, "\n".join(map(said, run))) for role, run in groupby(spoken, key=lambda message: message["role"])]
    if runs and runs[0][0] == "assistant":
        runs = runs[1:]
    if len(runs) % 2:
        runs = runs[:-1] if last == "drop" else [*runs, ("assistant", "")]
    return [(asked, answered) for (_, asked), (_, answered) in zip(runs[::2], runs[1::2], strict=True)]


def _settings_in(path: Path) -> dict[str, Any]:
    """The content of a scorer.json, empty where there is none; ValueError where it is not a JSON object."""
    try:
        written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(written, dict):
        raise ValueError(f"{path} is not a JSON object with template and labels")
    return written


def _value(
    prompts: "Sequence[tuple[Tokens, bool]]", logits: Sequence[np.ndarray | RowError], numbers: np.ndarray
) -> dict[str, Any] | RowError:
    read = [each for each in logits if not isinstance(each, RowError)]
    if len(read) < len(logits):
        return next(each for each in logits if isinstance(each, RowError))
    scores = expected_labels(np.stack(read), numbers).tolist()
    if not np.isfinite(scores).all():
        turn = int(np.isfinite(scores).argmin()) + 1
        return RowError("no_score", f"turn {turn}: the model gives no label a probability")
    return {"scores": scores, "truncated": any(cut for _, cut in prompts)}
