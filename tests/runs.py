"""Small training runs, and the content of their folders."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from operators.checkpoint import Checkpoint
from operators.supervision.supervised import IGNORED
from operators.training.finetune import Finetune, LoRA

SMALL = LoRA(rank=2, alpha=8)
CALM = LoRA(rank=2, alpha=8, dropout=0.0)


def declared(base, **fields) -> Finetune:
    chosen = {"lora": SMALL, "epochs": 2, "batch": 4, "max_tokens": 64, "learning_rate": 1e-2, "precision": "float32"}
    return Finetune(Checkpoint(str(base)), **(chosen | fields))


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def tensors(epoch) -> dict[str, torch.Tensor]:
    return {
        f"{path.name}/{key}": value for path in epoch.glob("*.safetensors") for key, value in load_file(path).items()
    }


def assert_same(first, second):
    found, expected = tensors(first), tensors(second)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def losses_one_by_one(model, samples) -> tuple[np.ndarray, np.ndarray]:
    """(n,) summed loss of each sample, in a forward pass by itself, and (n,) the number of its supervised tokens."""
    model.eval()
    sums, counts = [], []
    for sample in samples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([sample.input_ids])).logits[0, :-1]
        labels = torch.tensor(sample.labels[1:])
        sums.append(float(F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")))
        counts.append(int((labels != IGNORED).sum()))
    return np.array(sums), np.array(counts)


def spoilt(base, folder, token) -> Path:
    """Writes a copy of a model whose embedding of the token is NaN, and returns the folder."""
    shutil.copytree(base, folder)
    weights = load_file(base / "model.safetensors")
    weights["model.embed_tokens.weight"][token] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
