"""From lists of tokens to one pooled vector per text that does not depend on the other texts of the batch.

A matrix product rounds a row the same way whatever the other rows are, except where the library takes another code
path for few rows (measured with MKL: below 4 rows on one thread, below 12 on two). On a CPU nothing is padded, so the
lengths of the other texts have no effect. Each product has at least `FEWEST_ROWS` rows, and attention and pooling are
computed for one length at a time. `load` checks on the probes that the vectors are independent; where they are not,
texts are computed one by one. On a GPU texts are padded and masked, and vectors may differ in the last bits between
batches.
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
from operators.embedding.pooling import CPU_TOKENS, FEWEST_ROWS, Pooling, Tokens, pooled_state
from operators.models.by_length import batches, shortest_first
from operators.models.loading import bfloat16_is_fast, loaded_model
from operators.models.precision import Precision

log = logging.getLogger(__name__)

GPU_TOKENS = 65536
"""Tokens computed at once on a GPU, padding included."""

WITH_A_DECODER = ("t5", "mt5", "umt5")
"""The types of models with an encoder and a decoder, of which only the encoder is used."""

CLOSE = 0.9999
"""The smallest cosine to float32, over the probes, at which `auto` chooses bfloat16."""


class Encoder(Protocol):
    """A model that computes groups of texts."""

    budget: int
    """The maximum number of tokens of a group; a longer text is a group by itself."""

    def groups(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """The positions of the texts of each forward pass, every text once."""
        ...

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of one group, (rows, width) float32, on the device of the model."""
        ...


class EqualLengths:
    """Any model on a CPU: texts of equal length together, without padding or mask."""

    def __init__(self, model: nn.Module, budget: int = CPU_TOKENS):
        self.model = model
        self.budget = budget

    def groups(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """Groups of texts of equal length, up to the token budget."""
        for length, same in itertools.groupby(shortest_first(lengths), key=lengths.__getitem__):
            yield from _split(list(same), max(1, self.budget // length))

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of texts of equal length; few and short texts are repeated until there are FEWEST_ROWS tokens."""
        needed = max(len(rows), -(-FEWEST_ROWS // len(rows[0])))
        filled = list(itertools.islice(itertools.cycle(rows), needed))
        states = self.model(input_ids=torch.tensor(filled)).last_hidden_state
        return torch.stack([pooled_state(state, pooling) for state in states[: len(rows)]])


class Padded:
    """Any model on a GPU: texts of similar length together, padded on the right and masked."""

    def __init__(self, model: nn.Module, padding: int, budget: int = GPU_TOKENS):
        self.model = model
        self.padding = padding
        self.budget = budget

    def groups(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """The longest texts first, as `by_length.batches` groups them."""
        return batches(lengths, self.budget)

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of texts of any lengths."""
        device = next(self.model.parameters()).device
        longest = max(map(len, rows))
        padded = torch.tensor([[*row, *[self.padding] * (longest - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(longest) < lengths[:, None]
        tokens, mask, lengths = (_sent(tensor, device) for tensor in (padded, mask, lengths))
        states = self.model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        if pooling == "cls":
            return states[:, 0].float()
        if pooling == "last":
            return states[torch.arange(len(rows), device=device), lengths - 1].float()
        return (states.float() * mask[:, :, None]).sum(1) / lengths[:, None]


def _split(items: list[int], size: int) -> Iterable[list[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a copy to a GPU is asynchronous."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def encode(encoder: Encoder, rows: Sequence[Tokens], pooling: Pooling) -> np.ndarray:
    """The vectors of the texts in the order of the rows, (rows, width) float32; no row may be empty."""
    with torch.inference_mode():
        groups = list(encoder.groups([len(row) for row in rows]))
        pooled = torch.cat([encoder.pooled([rows[position] for position in group], pooling) for group in groups])
    vectors = np.empty(tuple(pooled.shape), np.float32)
    vectors[list(itertools.chain.from_iterable(groups))] = pooled.cpu().numpy()
    return vectors


def load(folder: Path, precision: Precision, probes: Sequence[Tokens], padding: int, pooling: Pooling) -> Encoder:
    """The encoder of the model in the folder, on the GPU where there is one.

    probes: the tokens of some texts, on which "auto" and the independence of rows are checked. padding: the id of the
    token that fills rows up on a GPU. ValueError where the checkpoint lacks weights other than a pooler's.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def checked(dtype: torch.dtype) -> tuple[Encoder, np.ndarray]:
        encoder = _encoder(folder, dtype, device, padding)
        together = encode(encoder, probes, pooling)
        if device.type == "cpu":
            alone = np.concatenate([encode(encoder, [probe], pooling) for probe in probes])
            if not np.array_equal(together, alone, equal_nan=True):
                log.warning("a row of a product depends on the other rows here: texts are embedded one at a time")
                encoder.budget = 1
        return encoder, together

    encoder, expected = checked(torch.bfloat16 if precision == "bfloat16" else torch.float32)
    if precision == "auto" and bfloat16_is_fast(device):
        shorter, found = checked(torch.bfloat16)
        if least_cosine(expected, found) >= CLOSE:
            return shorter
    return encoder


def _encoder(folder: Path, dtype: torch.dtype, device: torch.device, padding: int) -> Encoder:
    """The kind of encoder for the model and the device."""
    from transformers import AutoConfig

    if device.type == "cuda":
        return Padded(_model(folder, dtype).to(device), padding)
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
