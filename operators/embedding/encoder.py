"""Token lists in, one pooled vector a text out, so that a vector does not depend on the texts around it.

A matrix product rounds a row the same way whatever the other rows are, except where the library takes another
code path for few rows (measured with MKL: below 4 rows on one thread, below 12 on two). Here nothing is padded
on a CPU, so that no text is changed by its neighbours' lengths; every product has at least `FEWEST_ROWS` rows;
attention and pooling see one length at a time. `load` checks it on the probes and computes text by text where
it does not hold. On a GPU texts are padded and masked, and vectors may differ in the last bits between batches.
"""

import itertools
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from operators.models.by_length import batches, shortest_first
from operators.models.loading import bfloat16_is_fast, loaded_model
from operators.models.precision import Precision

log = logging.getLogger(__name__)

Pooling = Literal["mean", "cls", "last"]
Tokens = Sequence[int]

FEWEST_ROWS = 64
ROW_MULTIPLE = 16
CPU_TOKENS = 1024
"""Tokens computed at once on a CPU: the activations (1536 wide, 6 MB in float32) stay in the L3 cache."""
GPU_TOKENS = 65536

WITH_A_DECODER = ("t5", "mt5", "umt5")
"""Models that are an encoder and a decoder, of which the encoder is used."""

CLOSE = 0.9999
"""The least cosine to float32, over the probes, at which `auto` takes bfloat16."""


class Encoder(Protocol):
    """Computes texts that fit together."""

    budget: int
    """The most tokens of a group; a text that has more is a group by itself."""

    def groups(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """The positions of the texts of each forward pass, every text once."""
        ...

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of one group, (rows, width) float32 on the model's device."""
        ...


class EqualLengths:
    """Any model on a CPU: texts of one length together, without padding or mask."""

    def __init__(self, model: nn.Module, budget: int = CPU_TOKENS):
        self.model = model
        self.budget = budget

    def groups(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """The texts of each length, as many at once as the budget has tokens for."""
        for length, same in itertools.groupby(shortest_first(lengths), key=lengths.__getitem__):
            yield from _split(list(same), max(1, self.budget // length))

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of texts of one length; few and short ones are repeated to fill FEWEST_ROWS."""
        needed = max(len(rows), -(-FEWEST_ROWS // len(rows[0])))
        filled = list(itertools.islice(itertools.cycle(rows), needed))
        states = self.model(input_ids=torch.tensor(filled)).last_hidden_state
        return torch.stack([_pool(state, pooling) for state in states[: len(rows)]])


class Padded:
    """Any model on a GPU: texts of like length together, padded on the right and masked."""

    def __init__(self, model: nn.Module, padding: int, budget: int = GPU_TOKENS):
        self.model = model
        self.padding = padding
        self.budget = budget

    def groups(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """Longest first, so that memory that does not suffice shows at once."""
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


class Packed:
    """BERT-shaped models on a CPU: the tokens of all texts in one matrix, attention a run of equal lengths.

    Against `EqualLengths` it makes large products out of texts of different lengths and one of query, key and
    value (11 % less time in large batches, more in small ones). In bfloat16 are only the products and what lies
    between two of them; embeddings, sums and norms stay in float32, which halves the distance to float32 (over
    short texts MiniLM's least cosine is 0.99993, and 0.99986 where everything is bfloat16).
    """

    TYPES = ("bert", "roberta", "xlm-roberta")

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32, budget: int = CPU_TOKENS):
        self.budget = budget
        self.dtype = dtype
        self.heads = model.config.num_attention_heads
        self.embeddings = model.embeddings
        # RoBERTa counts positions from the padding token's number plus one.
        self.first = 0 if model.config.model_type == "bert" else model.config.pad_token_id + 1
        for module in model.encoder.modules():
            if isinstance(module, nn.Linear):
                module.to(dtype)
        self.layers = [(_joined(layer.attention.self), layer) for layer in model.encoder.layer]

    @classmethod
    def fits(cls, config: Any) -> bool:
        """Whether a model of this configuration is a plain encoder of the shape that `states` computes."""
        return config.model_type in cls.TYPES and not (
            getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False)
        )

    def groups(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """Texts in order of length up to the budget of tokens; a longer one alone."""
        group: list[int] = []
        tokens = 0
        for position in shortest_first(lengths):
            if group and tokens + lengths[position] > self.budget:
                yield group
                group, tokens = [], 0
            group.append(position)
            tokens += lengths[position]
        if group:
            yield group

    def pooled(self, rows: Sequence[Tokens], pooling: Pooling) -> Tensor:
        """The vectors of texts that are in order of length."""
        lengths = [len(row) for row in rows]
        states = self.states([token for row in rows for token in row], lengths)
        return torch.stack([_pool(state, pooling) for state in states[: sum(lengths)].split(lengths)])

    def states(self, tokens: list[int], lengths: list[int]) -> Tensor:
        """The last hidden states, (tokens, width), of texts laid end to end, and of the filling rows after them."""
        filling = max(FEWEST_ROWS - len(tokens), -len(tokens) % ROW_MULTIPLE)
        positions = [self.first + at for length in lengths for at in range(length)] + [self.first] * filling
        embedded = self.embeddings
        hidden = embedded.word_embeddings(torch.tensor(tokens + [0] * filling))
        hidden = hidden + embedded.token_type_embeddings.weight[0]
        hidden = embedded.LayerNorm(hidden + embedded.position_embeddings(torch.tensor(positions)))
        for (weight, bias), layer in self.layers:
            joined = F.linear(hidden.to(self.dtype), weight, bias)
            attended = layer.attention.output.dense(self._attention(joined, lengths))
            hidden = layer.attention.output.LayerNorm(hidden + attended)
            inner = layer.intermediate.intermediate_act_fn(layer.intermediate.dense(hidden.to(self.dtype)))
            hidden = layer.output.LayerNorm(hidden + layer.output.dense(inner))
        return hidden

    def _attention(self, joined: Tensor, lengths: list[int]) -> Tensor:
        """What each token attends to in its own text; joined: (tokens, 3 * width), the result (tokens, width)."""
        width = joined.shape[1] // 3
        context = joined.new_zeros(joined.shape[0], width)
        start = 0
        for length, same in itertools.groupby(lengths):
            count = sum(1 for _ in same)
            run = slice(start, start + count * length)
            parts = joined[run].view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(parts[0], parts[1], parts[2]).transpose(1, 2)
            context[run].view(count, length, self.heads, -1).copy_(attended)
            start = run.stop
        return context


def _joined(attention: Any) -> tuple[Tensor, Tensor]:
    parts = (attention.query, attention.key, attention.value)
    return torch.cat([part.weight for part in parts]).detach(), torch.cat([part.bias for part in parts]).detach()


def _pool(state: Tensor, pooling: Pooling) -> Tensor:
    """A text's vector, float32, from its own states (tokens, width) alone."""
    if pooling == "mean":
        return state.float().mean(0)
    return state[0 if pooling == "cls" else -1].float()


def _split(items: list[int], size: int) -> Iterable[list[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a copy to a GPU does not wait."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def encode(encoder: Encoder, rows: Sequence[Tokens], pooling: Pooling) -> np.ndarray:
    """The vectors of the texts in their order, (rows, width) float32; no row may be empty."""
    with torch.inference_mode():
        groups = list(encoder.groups([len(row) for row in rows]))
        pooled = torch.cat([encoder.pooled([rows[position] for position in group], pooling) for group in groups])
    vectors = np.empty(tuple(pooled.shape), np.float32)
    vectors[list(itertools.chain.from_iterable(groups))] = pooled.cpu().numpy()
    return vectors


def load(folder: Path, precision: Precision, probes: Sequence[Tokens], padding: int, pooling: Pooling) -> Encoder:
    """The encoder of the model in the folder, on the GPU where there is one, in the precision asked for."""
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
    """The encoder that suits model and device."""
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
    """The least cosine between two arrays' rows; NaN where a row has none."""
    dots = np.einsum("ij,ij->i", first, second)
    return float(np.min(dots / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)))
