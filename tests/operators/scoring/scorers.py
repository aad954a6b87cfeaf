"""Scorers of a tiny model, and what they score."""

import math
from pathlib import Path

import pyarrow as pa
from safetensors.torch import load_file, save_file

from operators import sample
from operators.checkpoint import Checkpoint
from operators.scoring.scorer import Scorer

LABELS = ("1", "2", "3", "4", "5", "6")


COMPLEXITY = "Rate the question.\nQuestion: {instruction} \nScore: "


QUALITY = "Rate the answer.\nQuestion: {instruction}\nAnswer: {response}\nScore: "


PAIRS = [
    ("Name a river.", "The Danube."),
    ("列举三种颜色。", "红色、蓝色和绿色。"),
    ("Écris {un} poème {0}", "{instruction} {{}} {"),
    ("اشرح الفرق بين الطقس والمناخ", "👍🏽 e\u0301"),
    ("?", ""),
    ("Кратко.", "Империя пришла в упадок. " * 3),
]


def conversation(*contents: str, roles: str = "ua") -> list[dict]:
    names = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    cycle = (roles * len(contents))[: len(contents)]
    return [{"role": names[role], "content": content} for role, content in zip(cycle, contents, strict=True)]


def batch(*conversations: list[dict]) -> pa.Table:
    return pa.table({"messages": pa.array(list(conversations), sample.MESSAGES)})


def scorer(folder, **fields) -> Scorer:
    return Scorer(model=Checkpoint(str(folder)), **({"template": QUALITY, "labels": LABELS} | fields))


def break_token(folder: Path, token: int) -> None:
    """Makes the embedding of a token NaN in the checkpoint, so that the logits of each text with it are NaN."""
    weights = load_file(folder / "model.safetensors")
    (name,) = [name for name in weights if name.endswith(("embed_tokens.weight", "word_embeddings.weight"))]
    weights[name][token] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
