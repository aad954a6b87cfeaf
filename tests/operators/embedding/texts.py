"""Texts of several scripts, and batches of them."""

import random

import numpy as np
import pyarrow as pa

from operators import sample

TEXTS = [
    "Name three primary colors.",
    "大学の三人は東京に行った。山水之中有一小村。",  # of characters that MiniLM's vocabulary has
    "Ok",
    "Écris une lettre polie à ton voisin. " * 3,
    "Write a function that sorts a list.\ndef sort(values):\n    return sorted(values)",
    "Краткое изложение причин, по которым империя пришла в упадок.",
    "A long answer follows. " + "It names the causes, weighs them one against another, and ends. " * 30,
]


def batch(texts: list[str]) -> pa.Table:
    messages = [[{"role": "user", "content": text}] for text in texts]
    return pa.table({"messages": pa.array(messages, sample.MESSAGES)})


def many_texts(count: int) -> list[str]:
    drawn = random.Random(5)
    words = [*" ".join(TEXTS).split(), *"前有山水里和尚人事明日", "ß", "½", "x" * 90]
    return [" ".join(drawn.choices(words, k=max(1, int(drawn.lognormvariate(2.0, 0.9))))) for _ in range(count)]


def in_batches(compute, texts: list[str], size: int) -> np.ndarray:
    return np.concatenate([compute(batch(texts[at : at + size])) for at in range(0, len(texts), size)])
