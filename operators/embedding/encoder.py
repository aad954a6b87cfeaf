"""From lists of tokens to one pooled vector per text that does not depend on the other texts of the batch.

A matrix product rounds a row the same way whatever the other rows are, except where the library takes another code
path for few rows (measured with MKL: below 4 rows on one thread, below 12 on two). On a CPU nothing is padded, so the
lengths of the other texts have no effect. Each product has at least `FEWEST_ROWS` rows, and attention and pooling are
computed for one length at a time. `load` checks on the probes that the vectors are independent; where they are not,
texts are computed one by one. What a GPU computes is in padded.py.
"""

import itertools
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from operators.embedding.packed import Packed
from operators.embedding.padded import Padded, narrow
from operators.embedding.pooling import CPU_TOKENS, FEWEST_ROWS, Pooling, Tokens, pooled_state
from operators.models.by_length import Budget, shortest_first
from operators.models.loading import bfloat16_is_fast, loaded_model
from operators.models.precision import Precision

log = logging.getLogger(__name__)

WITH_A_DECODER = ("t5", "mt5", "umt5")
"""The types of models with an encoder and a decoder, of which only the encoder is used."""

CLOSE = 0.9999
"""The smallest cosine to float32, over the probes, at which `auto` chooses bfloat16."""


class Encoder(Protocol):
    """A model that computes groups of texts."""

    budget: Budget
    """The maximum number of tokens of a group; a longer text is a group by itself."""

    def groups(self, lengths: Sequence[int], budget: int) -> Iterable[list[int]]:
        """The positions of the texts of each forward pass, up to the token budget; every text once."""
        ...

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of one group, (rows, width) float32, on the device of the model."""
        ...


class EqualLengths:
    """Any model on a CPU: texts of equal length together, without padding or mask."""

    def __init__(self, model: nn.Module, budget: int = CPU_TOKENS):
        self.model = model
        self.budget = Budget(budget)

    def groups(self, lengths: Sequence[int], budget: int) -> Iterable[list[int]]:
        """Groups of texts of equal length, up to the token budget."""
        for length, same in itertools.groupby(shortest_first(lengths), key=lengths.__getitem__):
            yield from _split(list(same), max(1, budget // length))

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of texts of equal length; few and short texts are repeated until there are FEWEST_ROWS tokens."""
        needed = max(len(rows), -(-FEWEST_ROWS // len(rows[0])))
        filled = list(itertools.islice(itertools.cycle(rows), needed))
        states = self.model(input_ids=torch.tensor(filled)).last_hidden_state
        return torch.stack([pooled_state(state, pooling) for state in states[: len(rows)]])


def _split(items: list[int], size: int) -> Iterable[list[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def encode(encoder: Encoder, rows: Sequence[Tokens], pooling: Pooling) -> np.ndarray:
    """The vectors of the texts in the order of the rows, (rows, width) float32; no row may be empty.

    OutOfMemoryError where a text alone does not fit on the GPU.
    """
    order: list[int] = []
    parts: list[Tensor] = []

    def run(group: list[int]) -> None:
        parts.append(encoder.pooled([rows[position] for position in group], pooling))
        order.extend(group)

    with torch.inference_mode():
        encoder.budget.run([len(row) for row in rows], run, encoder.groups)
        pooled = torch.cat(parts)
    vectors = np.empty(tuple(pooled.shape), np.float32)
    vectors[order] = pooled.cpu().numpy()
    return vectors


def load(folder: Path, precision: Precision, probes: Sequence[Tokens], padding: int, pooling: Pooling) -> Encoder:
    """The encoder of the model in the folder, on the GPU where there is one.

    probes: the tokens of some texts, on which "auto" and the independence of rows are checked. padding: the id of the
    token that fills rows up on a GPU. ValueError where the checkpoint lacks weights other than a pooler's. There is one
    model in memory at a time.
    """
    if torch.cuda.is_available():
        return _on_gpu(folder, precision, probes, padding, pooling, torch.device("cuda"))
    return _on_cpu(folder, precision, probes, pooling)


def _on_gpu(
    folder: Path, precision: Precision, probes: Sequence[Tokens], padding: int, pooling: Pooling, device: torch.device
) -> Encoder:
    model = _model(folder, torch.float32)
    if precision == "bfloat16":  # before it moves, so that the GPU never has the whole float32 model
        narrow(model)
        return Padded(model.to(device), padding, "bfloat16")
    encoder = Padded(model.to(device), padding, "float32")
    if precision == "float32" or not bfloat16_is_fast(device):
        return encoder
    expected = encode(encoder, probes, pooling)
    narrow(model)
    short = Padded(model, padding, "bfloat16")
    if least_cosine(expected, encode(short, probes, pooling)) >= CLOSE:
        return short
    del model, encoder, short
    return Padded(_model(folder, torch.float32).to(device), padding, "tf32")


def _on_cpu(folder: Path, precision: Precision, probes: Sequence[Tokens], pooling: Pooling) -> Encoder:
    encoder = _unpadded(folder, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    together = _checked(encoder, probes, pooling)
    if precision != "auto" or not bfloat16_is_fast(torch.device("cpu")):
        return encoder
    del encoder
    encoder = _unpadded(folder, torch.bfloat16)
    if least_cosine(together, _checked(encoder, probes, pooling)) >= CLOSE:
        return encoder
    del encoder
    encoder = _unpadded(folder, torch.float32)
    _checked(encoder, probes, pooling)
    return encoder


def _checked(encoder: Encoder, probes: Sequence[Tokens], pooling: Pooling) -> np.ndarray:
    """The vectors of the probes; texts are embedded one at a time where the vectors depend on what is with them."""
    together = encode(encoder, probes, pooling)
    alone = np.concatenate([encode(encoder, [probe], pooling) for probe in probes])
    if not np.array_equal(together, alone, equal_nan=True):
        log.warning("a row of a product depends on the other rows here: texts are embedded one at a time")
        encoder.budget.tokens = 1
    return together


def _unpadded(folder: Path, dtype: torch.dtype) -> Encoder:
    """The kind of encoder for the model on a CPU."""
    from transformers import AutoConfig

    if Packed.fits(AutoConfig.from_pretrained(folder, local_files_only=True)):
        return Packed(_model(folder, torch.float32), dtype)
    return EqualLengths(_model(folder, dtype))


def _model(folder: Path, dtype: torch.dtype) -> Any:
    """The model in the folder, on the CPU; of an encoder and decoder, the encoder. A missing pooler is not used."""
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    model_type = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    kind = AutoModelForTextEncoding if model_type in WITH_A_DECODER else AutoModel
    return loaded_model(folder, kind, dtype, may_lack=lambda _, weight: weight.startswith("pooler."))


def least_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The smallest cosine between the rows of two arrays, (rows, width) each; NaN where a row is all zeros."""
    dots = np.einsum("ij,ij->i", first, second)
    return float(np.min(dots / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)))
