"""DEITA's trained scorers: how complex an instruction is, how good a response, as a number on a scale of labels.

    Scorer(model=Checkpoint("/models/complexity"))                    # with a scorer.json beside its config.json
    Scorer(model=..., template="... {instruction} ... {response} ... ", labels=("1", "2", "3", "4", "5", "6"))

A scorer is a causal language model that was trained to write one label after a filled template. The score is the
label it expects: the sum of k * p_k, p the softmax of the labels' logits alone (Liu et al., "What Makes Good Data
for Alignment?", ICLR 2024, and its released scorer). Every turn is scored by itself, without history. Other than in
the released code, a prompt over the limit is cut and flagged, and a sample that has no score has an error, not 3.0.
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
from operators.embedding.embed import PROBES
from operators.models.precision import Precision
from operators.positions import refuse_too_many
from operators.sample import Message
from operators.unknown import refuse_unreadable

if TYPE_CHECKING:
    from operators.scoring.windows import Tokens, Window

SETTINGS = "scorer.json"
"""The file beside a scorer's config.json: {"template": "...", "labels": ["1", ...]}."""

TEMPLATE_FIELDS = ("instruction", "response")


def checked_template(template: str) -> str:
    """The template itself; ValueError where it names another field than instruction and response, or none."""
    named = _fields(template)
    unknown = sorted(named - set(TEMPLATE_FIELDS))
    if unknown or not named:
        found = f"unknown field {{{unknown[0]}}}" if unknown else "no field"
        raise ValueError(f"scorer template {template!r} has {found}; the fields are {', '.join(TEMPLATE_FIELDS)}")
    return template


def checked_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels themselves; ValueError unless they are two or more different whole numbers."""
    numbers = {int(label) for label in labels if label.strip().isdecimal()}
    if len(labels) < 2 or len(numbers) != len(labels):
        raise ValueError(f"a scorer's labels are two or more different whole numbers, not {list(labels)}")
    return labels


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


@dataclass(frozen=True, config=STRICT)
class Scorer(Operator):
    """The scores of a sample's turns, and whether a turn had to be cut to be scored."""

    version: ClassVar[int] = 2

    gives: ClassVar[pa.DataType | None] = pa.struct([("scores", pa.list_(pa.float64())), ("truncated", pa.bool_())])

    model: Checkpoint
    template: Annotated[str, AfterValidator(checked_template)] | None = None
    """The prompt with {instruction} and {response}, up to where the label follows; None: as scorer.json says."""
    labels: Annotated[tuple[str, ...], AfterValidator(checked_labels)] | None = None
    """The labels, each one token after the template; None: as scorer.json says."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """A prompt's most tokens; None: the model's positions. The response is cut first, then the instruction."""
    turns: Literal["drop", "empty_response"] = "drop"
    """A last user message that nobody answers: dropped, or, as the released code does, a turn with response ""."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere."""

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there; ValueError where it has fewer positions than max_tokens."""
        self.model.check()
        refuse_too_many(self.model, self.max_tokens)

    def load(self) -> Compute:
        """A function from a batch to {"scores": a float a turn, "truncated": bool}, or a RowError, for each row.

        One turn without a score leaves the sample without: the kinds of error are no_turns, empty_text (the
        template is filled with blanks), unreadable (operators/unknown.py) and no_score (a logit is not a number).
        ValueError where neither the fields nor scorer.json give template and labels, where a label is not one token
        of its own after the template, and where max_tokens is more than the model has positions or less than the
        template needs.
        """
        from transformers import AutoModelForCausalLM

        from operators.models import loading
        from operators.scoring import windows

        folder = self.model.folder()
        template, labels = self._settings(folder)
        tokenizer = loading.fast_tokenizer(folder)
        columns = checked_label_ids(tokenizer, template, labels)
        model = loading.placed_model(folder, AutoModelForCausalLM, self.precision)
        prompts = Prompts(template, windows.Window(tokenizer, loading.token_limit(model, self.max_tokens)))
        prompts.refuse_no_room()
        passes = windows.causal_passes(model)
        numbers = np.array([int(label) for label in labels])

        def compute(batch: pa.Table) -> list[dict[str, Any] | RowError]:
            samples = [prompts.attempted(scored_turns(each, self.turns)) for each in batch["messages"].to_pylist()]
            scored = [prompt for each in samples if not isinstance(each, RowError) for prompt in each]
            scores = iter(expected_labels(passes.logits([tokens for tokens, _ in scored], columns), numbers).tolist())
            return [
                each if isinstance(each, RowError) else _value(each, [next(scores) for _ in each]) for each in samples
            ]

        return compute

    def _settings(self, folder: Path) -> tuple[str, tuple[str, ...]]:
        """Template and labels, of the fields or else of scorer.json; ValueError where one is in neither."""
        path = folder / SETTINGS
        written = _settings_in(path)
        template = self.template if self.template is not None else written.get("template")
        labels = self.labels if self.labels is not None else written.get("labels")
        if not isinstance(template, str):
            raise ValueError(f"no template: write one in {path} or set template=... to the text the scorer learnt from")
        if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"no labels: list them as strings in {path} or set labels=... to what the scorer writes")
        return checked_template(template), checked_labels(tuple(labels))


@plain_dataclass(frozen=True)
class Prompts:
    """A scorer's prompts: its template, filled, fitted into the model's window."""

    template: str
    window: "Window"

    def attempted(self, pairs: Sequence[tuple[str, str]]) -> "list[tuple[Tokens, bool]] | RowError":
        """Each turn's prompt and whether it was cut, or why the sample has none."""
        if not pairs:
            return RowError("no_turns", "no user message with an answer")
        try:
            return [self.prompt(*pair) for pair in pairs]
        except RowError as error:
            return error

    def prompt(self, instruction: str, response: str) -> "tuple[Tokens, bool]":
        """The tokens, and whether the response, and then the instruction, was cut at its end.

        RowError where the template is filled with nothing but blanks, or with what the model cannot read.
        """
        # What the template does not show is neither cut nor flagged.
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
        """ValueError where the template fills the window by itself."""
        if self.window.limit is not None and self.window.exceeded(self._tokens("", "")) >= 0:
            raise ValueError(f"max_tokens={self.window.limit} leaves no room for a text in the scorer's template")

    def _tokens(self, instruction: str, response: str) -> "Tokens":
        text = self.template.format(instruction=instruction, response=response)
        return {"input_ids": self.window.tokenizer(text, verbose=False)["input_ids"]}


def scored_turns(messages: Sequence[Message], last: Literal["drop", "empty_response"]) -> list[tuple[str, str]]:
    """The (instruction, response) pairs of a conversation, by role and not by position.

    Messages of one role in a row are joined by a newline; what the assistant says before any user does is left
    out, and so are other roles. `last`: what becomes of a user message at the end.
    """
    spoken = [message for message in messages if message["role"] in ("user", "assistant")]
    runs = [
        (role, "\n".join(message["content"] for message in run))
        for role, run in groupby(spoken, key=lambda message: message["role"])
    ]
    if runs and runs[0][0] == "assistant":
        runs = runs[1:]
    if len(runs) % 2:
        runs = runs[:-1] if last == "drop" else [*runs, ("assistant", "")]
    return [(asked, answered) for (_, asked), (_, answered) in zip(runs[::2], runs[1::2], strict=True)]


def expected_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label that each row of logits expects, (rows,) float64; NaN where a logit is NaN or all are -inf.

    logits: (rows, labels); labels: (labels,) the numbers they stand for.

    >>> expected_labels(np.zeros((1, 6)), np.arange(1, 7))
    array([3.5])
    """
    with np.errstate(invalid="ignore"):
        weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        # A row's sum, not a product with a vector: that rounds by how many rows there are.
        return (weights * labels).sum(axis=1) / weights.sum(axis=1)


def _settings_in(path: Path) -> dict[str, Any]:
    """What a scorer.json says, nothing where there is none; ValueError where it is no JSON object."""
    try:
        written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(written, dict):
        raise ValueError(f"{path} is not a JSON object with template and labels")
    return written


def _value(prompts: "Sequence[tuple[Tokens, bool]]", scores: list[float]) -> dict[str, Any] | RowError:
    if not np.isfinite(scores).all():
        turn = int(np.isfinite(scores).argmin()) + 1
        return RowError("no_score", f"turn {turn}: the model gives no label a probability")
    return {"scores": scores, "truncated": any(cut for _, cut in prompts)}


def checked_label_ids(tokenizer: Any, template: str, labels: Sequence[str]) -> list[int]:
    """The labels' token ids; ValueError where a label is not one token of its own after the template, with advice."""
    ids = label_ids(tokenizer, template, labels)
    refused = [label for label, token in zip(labels, ids, strict=True) if token is None]
    if not refused:
        return [token for token in ids if token is not None]
    shorter, spaced = template.rstrip(" "), [" " + label.strip() for label in labels]
    advice = "use another tokenizer, and a scorer trained with it"
    if shorter != template and None not in label_ids(tokenizer, shorter, spaced):
        advice = f"a template without the blank at its end fits, with the labels {spaced}"
    raise ValueError(
        f"the label {refused[0]!r} is not one token of its own after the template: the tokenizer of "
        f"{tokenizer.name_or_path} joins it with what stands before, or writes it as several; {advice}"
    )


def label_ids(tokenizer: Any, template: str, labels: Sequence[str]) -> list[int | None]:
    """The one token that each label adds to a filled template, the same for texts of many kinds; None without one."""
    answers = [*reversed(PROBES), ""]
    prompts = [template.format(instruction=text, response=answers[at]) for at, text in enumerate([*PROBES, "?"])]
    before = [tokenizer(prompt, verbose=False)["input_ids"] for prompt in prompts]
    found: list[int | None] = []
    for label in labels:
        after = [tokenizer(prompt + label, verbose=False)["input_ids"] for prompt in prompts]
        added = {
            tuple(new[len(old) :]) if new[: len(old)] == old else () for old, new in zip(before, after, strict=True)
        }
        only = added.pop() if len(added) == 1 else ()
        found.append(only[0] if len(only) == 1 and only[0] != tokenizer.unk_token_id else None)
    return found
