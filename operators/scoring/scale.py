"""The labels that a scorer writes: the token of each, and the label that its logits expect."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from operators.models.probes import PROBES


def checked_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels, unchanged; ValueError unless they are two or more different whole numbers."""
    numbers = {int(label) for label in labels if label.strip().isdecimal()}
    if len(labels) < 2 or len(numbers) != len(labels):
        raise ValueError(f"a scorer's labels are two or more different whole numbers, not {list(labels)}")
    return labels


def expected_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The expected label of each row of logits, (rows,) float64; NaN where a logit is NaN or all logits are -inf.

    logits: (rows, labels). labels: (labels,), the numbers that the labels stand for.

    >>> expected_labels(np.zeros((1, 6)), np.arange(1, 7))
    array([3.5])
    """
    with np.errstate(invalid="ignore"):
        weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        # Sums of rows: the rounding of a product with a vector depends on the number of rows.
        return (weights * labels).sum(axis=1) / weights.sum(axis=1)


def checked_label_ids(tokenizer: Any, template: str, labels: Sequence[str]) -> list[int]:
    """The token id of each label; ValueError where one is not a single token of its own after the template."""
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
        f"{tokenizer.name_or_path} joins it with the text before it, or writes it as several tokens; {advice}"
    )


def label_ids(tokenizer: Any, template: str, labels: Sequence[str]) -> list[int | None]:
    """The token that each label adds to a filled template, (labels,).

    None for a label that adds several tokens, or not the same one for each of PROBES.
    """
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
