"""Pairs of a text and its score, as records that one of DEITA's scorers can be trained on.

A pair is a line of what jobs.evolve writes (instruction, response where quality is scored, score), or of the released
form: a conversation of the filled template and the score (Liu et al. 2024, arXiv 2312.15685; its training script). A
record is a conversation of the prompt and the label, which the template "plain" writes one after the other.
"""

import hashlib
import json
import os
import re
import string
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from jobs.engine.command.config import configured
from jobs.engine.terminal.errors import UsageError, together
from operators.base import STRICT, RowError
from operators.checkpoint import Checkpoint
from operators.models.probes import PROBES
from operators.scoring.labels import checked_label_ids, checked_labels
from operators.scoring.scorer import SETTINGS, checked_template
from operators.supervision.supervised import Supervision
from operators.training.finetune import Finetune

COMPLEXITY = "Here is an instruction for an assistant.\n\n{instruction}\n\nIts complexity, from 1 to 6: "
QUALITY = (
    "Here is an instruction for an assistant, and a response.\n\nInstruction:\n{instruction}\n\n"
    "Response:\n{response}\n\nThe quality of the response, from 1 to 6: "
)


@dataclass(frozen=True, config=STRICT)
class ScorerTraining:
    """What a scorer is shown, what it answers, and how it is trained to."""

    template: Annotated[str, AfterValidator(checked_template)] | None = None
    """The prompt with {instruction} and {response}, up to where the score follows; None: one of ours."""
    labels: Annotated[tuple[str, ...], AfterValidator(checked_labels)] = ("1", "2", "3", "4", "5", "6")
    """The scores as the model writes them, each one token."""
    finetune: Finetune = Finetune(
        Checkpoint("mistralai/Mistral-7B-v0.1"),
        lora=None,
        template="plain",
        epochs=6,
        batch=512,
        schedule="cosine",
        warmup=0.1,
    )


def scorer_training(settings: Path | None, overrides: Iterable[str]) -> ScorerTraining:
    """The training with the settings' template and labels, then the field=value ones; UsageError names a wrong one."""
    try:
        given = json.loads(settings.read_text(encoding="utf-8")) if settings else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"--settings {settings}: {error}") from None
    if not isinstance(given, dict):
        raise UsageError(f"--settings {settings} is no JSON object with template and labels")
    wanted = configured(ScorerTraining, given, overrides)
    if wanted.finetune.template != "plain" or wanted.finetune.labels is not None:
        raise UsageError("a scorer reads its own template and writes a word: finetune.template is plain, no labels")
    return wanted


def pairs(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The line number and the object of each line of a file; UsageError where a line holds none."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                pair = json.loads(line)
                if not isinstance(pair, dict):
                    raise UsageError(f"{path}:{number} is no JSON object")
                yield number, pair
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no file of pairs, a JSON object a line: {error}") from None


def default_template(path: Path) -> str:
    """Our template for pairs with a response, or without; UsageError for pairs that are filled in already."""
    first = next((pair for _, pair in pairs(path)), None)
    if first is None:
        raise UsageError(f"{path} holds no pair")
    if "conversations" in first:
        raise UsageError(f"the texts of {path} are filled into a template already; give it by --settings {SETTINGS}")
    return QUALITY if "response" in first else COMPLEXITY


def records(path: Path, template: str, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A conversation of prompt and label a pair; UsageError names the line that is none, or whose score is no label."""
    by_score = {int(label): label for label in labels}
    for number, pair in pairs(path):
        try:
            prompt, score = _filled(pair, template) if "conversations" in pair else _fill(pair, template)
        except ValueError as error:
            raise UsageError(f"{path}:{number}: {error}") from None
        if score not in by_score:
            raise UsageError(f"{path}:{number}: the score {score} is none of {', '.join(map(str, by_score))}")
        label = by_score[score]
        yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": label}]}


def _fill(pair: Mapping[str, Any], template: str) -> tuple[str, int]:
    """The prompt of a pair and its score; ValueError says what it lacks."""
    missing = [name for name in sorted(_fields(template)) if not isinstance(pair.get(name), str)]
    if missing:
        raise ValueError(f"the template wants the {missing[0]}, and the pair has no such text")
    if type(pair.get("score")) is not int:
        raise ValueError(f"the score {pair.get('score')!r} is no whole number")
    return template.format(instruction=pair.get("instruction"), response=pair.get("response")), pair["score"]


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def _filled(pair: Mapping[str, Any], template: str) -> tuple[str, int]:
    """The prompt of a conversation of two messages and its score; ValueError where it is none, or of another prompt."""
    messages = pair["conversations"]
    texts = [each.get("value") for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    texts = [text for text in texts if isinstance(text, str)]
    if len(texts) != 2 or len(messages) != 2:
        raise ValueError("conversations is no list of two messages, the prompt and the score, with a value each")
    prompt, answer = texts
    pieces = [re.escape(literal) + (".*" if name else "") for literal, name, _, _ in string.Formatter().parse(template)]
    if not re.fullmatch("".join(pieces), prompt, re.DOTALL):
        raise ValueError("the prompt is not the template, filled in")
    if not answer.strip().isdecimal():
        raise ValueError(f"the score {answer!r} is no whole number")
    return prompt, int(answer)


def refuse_other_tokens(wanted: ScorerTraining, template: str) -> None:
    """UsageError where the tokenizer does not write a label as one token, or writes another than a scorer looks for."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(wanted.finetune.base.folder(), local_files_only=True)
    try:
        expected = checked_label_ids(tokenizer, template, wanted.labels)
    except ValueError as error:
        raise UsageError(str(error)) from error
    supervision = Supervision(tokenizer, "plain", sys.maxsize)
    prompts = [template.format(instruction=text, response=text) for text in PROBES]
    for prompt in prompts:
        for label, token in zip(wanted.labels, expected, strict=True):
            try:
                made = supervision(0, [{"role": "user", "content": prompt}, {"role": "assistant", "content": label}])
            except RowError:  # in a language that this tokenizer cannot read, and in which no sample will train it
                continue
            if list(made.input_ids) != tokenizer(prompt + label, verbose=False)["input_ids"] or made.count != 1:
                raise UsageError(
                    f"the tokenizer of {wanted.finetune.base.name} writes {prompt[-10:] + label!r} otherwise where the "
                    f"label (token {token}) is written alone: what is trained would not be what a Scorer reads"
                )


def checked_training(settings: Path | None, overrides: Iterable[str], path: Path) -> ScorerTraining:
    """The training, with the template that these pairs are for; every refusal that needs no reading of all pairs."""
    wanted = scorer_training(settings, overrides)
    _, template = together([wanted.finetune.check, lambda: wanted.template or default_template(path)])
    wanted = replace(wanted, template=template)
    refuse_other_tokens(wanted, template)
    return wanted


def written_records(rows: Iterable[Mapping[str, Any]], folder: Path) -> Path:
    """The file of these records, one a line, named by its content; the same ones are not written again."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{os.getpid()}.tmp"
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for row in rows:
                line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
                digest.update(line)
                file.write(line)
        path = folder / f"{digest.hexdigest()[:16]}.jsonl"
        if not path.exists():
            temporary.replace(path)
        return path
    finally:
        temporary.unlink(missing_ok=True)
