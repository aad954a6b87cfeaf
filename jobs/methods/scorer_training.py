"""Turns pairs of a text and its score into records to train one of DEITA's scorers on.

A pair is a line that jobs.evolve writes (instruction, response where quality is scored, score), or a line in the form
of the released code: a conversation of the filled template and the score (Liu et al. 2024, arXiv 2312.15685; its
training script). A record is a conversation of the prompt and the label, which the template "plain" concatenates.
"""

import hashlib
import json
import re
import shutil
import string
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import fsspec
from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from jobs.engine.command.config import configured
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError, together
from jobs.engine.terminal.place_errors import naming
from operators.base import STRICT, RowError
from operators.checkpoint import Checkpoint
from operators.models.probes import PROBES
from operators.scoring.scale import checked_label_ids, checked_labels
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
    """The prompt of a scorer, its labels, and its training."""

    template: Annotated[str, AfterValidator(checked_template)] | None = None
    """The prompt before the score, with {instruction} and {response}; None: a prompt of Winnow."""
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
    """The training, with template and labels from the settings file, then with its fields set by `field=value`.

    UsageError where the settings file cannot be read, and for a wrong field.
    """
    try:
        given = json.loads(settings.read_text(encoding="utf-8")) if settings else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"--settings {settings}: {error}") from None
    if not isinstance(given, dict):
        raise UsageError(f"--settings {settings} is not a JSON object with template and labels")
    wanted = configured(ScorerTraining, given, overrides)
    if wanted.finetune.template != "plain" or wanted.finetune.labels is not None:
        raise UsageError("a scorer has its own template and labels: finetune.template has to be plain, without labels")
    return wanted


def pairs(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The line number and the JSON object of each line that is not blank; UsageError for a line without one."""
    try:
        with naming(path), fsspec.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                pair = json.loads(line)
                if not isinstance(pair, dict):
                    raise UsageError(f"{path}:{number} is not a JSON object")
                yield number, pair
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a file of pairs, with one JSON object per line: {error}") from None


def default_template(path: str) -> str:
    """Winnow's template for the pairs in a file: QUALITY where they have a response, else COMPLEXITY.

    UsageError where the file has no pair, and where its pairs are filled into a template already.
    """
    first = next((pair for _, pair in pairs(path)), None)
    if first is None:
        raise UsageError(f"{path} contains no pair")
    if "conversations" in first:
        raise UsageError(f"the texts of {path} are filled into a template already; pass it with --settings {SETTINGS}")
    return QUALITY if "response" in first else COMPLEXITY


def records(path: str, template: str, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One record per pair: a conversation of the prompt and the label.

    UsageError names the line that is not a pair, or whose score is not a label.
    """
    by_score = {int(label): label for label in labels}
    for number, pair in pairs(path):
        try:
            prompt, score = _filled(pair, template) if "conversations" in pair else _fill(pair, template)
            prompt.encode()  # half of a surrogate pair, as of a cut emoji, cannot be written
        except ValueError as error:
            raise UsageError(f"{path}:{number}: {error}") from None
        if score not in by_score:
            raise UsageError(f"{path}:{number}: the score {score} is not one of {', '.join(map(str, by_score))}")
        label = by_score[score]
        yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": label}]}


def _fill(pair: Mapping[str, Any], template: str) -> tuple[str, int]:
    """The filled prompt of a pair, and its score; ValueError says what the pair lacks."""
    missing = [name for name in sorted(_fields(template)) if not isinstance(pair.get(name), str)]
    if missing:
        raise ValueError(f"the template has a field {missing[0]}, and the pair has no such text")
    if type(pair.get("score")) is not int:
        raise ValueError(f"the score {pair.get('score')!r} is not a whole number")
    return template.format(instruction=pair.get("instruction"), response=pair.get("response")), pair["score"]


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def _filled(pair: Mapping[str, Any], template: str) -> tuple[str, int]:
    """The prompt and the score of a conversation of two messages.

    ValueError where it is not such a conversation, and where the prompt is not from this template.
    """
    messages = pair["conversations"]
    texts = [each.get("value") for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    texts = [text for text in texts if isinstance(text, str)]
    if len(texts) != 2 or len(messages) != 2:
        raise ValueError("conversations is not a list of two messages with a value, the prompt and the score")
    prompt, answer = texts
    pieces = [re.escape(literal) + (".*" if name else "") for literal, name, _, _ in string.Formatter().parse(template)]
    if not re.fullmatch("".join(pieces), prompt, re.DOTALL):
        raise ValueError("the prompt is not the filled template")
    if not answer.strip().isdecimal():
        raise ValueError(f"the score {answer!r} is not a whole number")
    return prompt, int(answer)


def refuse_other_tokens(wanted: ScorerTraining, template: str) -> None:
    """Raises UsageError where a label is not one token after the prompt, or another token than the scorer looks up."""
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
            except RowError:  # the tokenizer cannot read this language, so no sample in it will be trained on
                continue
            if list(made.input_ids) != tokenizer(prompt + label, verbose=False)["input_ids"] or made.count != 1:
                raise UsageError(
                    f"the tokenizer of {wanted.finetune.base.name} does not write {prompt[-10:] + label!r} as the "
                    f"prompt and then the label (token {token}): a Scorer would read another token than was trained"
                )


def checked_training(settings: Path | None, overrides: Iterable[str], path: str) -> ScorerTraining:
    """The training, as `scorer_training` returns it, with the template of the pairs in a file.

    path: the file of pairs. UsageError or ModelMissing for everything that can be refused without reading all pairs.
    """
    wanted = scorer_training(settings, overrides)
    _, template = together([wanted.finetune.check, lambda: wanted.template or default_template(path)])
    wanted = replace(wanted, template=template)
    refuse_other_tokens(wanted, template)
    return wanted


def written_records(rows: Iterable[Mapping[str, Any]], folder: Folder) -> str:
    """Writes records, one per line, to a file named by the hash of its content, and returns its path or URL.

    A file of the same content is not written again.
    """
    folder.make()
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as held:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            held.write(line)
        name = f"{digest.hexdigest()[:16]}.jsonl"
        if not folder.exists(name):
            held.seek(0)
            with folder.writing(name) as file:
                shutil.copyfileobj(held, file)
    return folder.file(name)
