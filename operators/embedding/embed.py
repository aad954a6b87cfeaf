"""The embedding of one text per sample, by a sentence encoder or any other transformer.

    Embed()                                                  # all-MiniLM-L6-v2 of the whole conversation
    Embed(model=Checkpoint("intfloat/e5-base-v2"), text="query: {instruction}")
    Embed(model=Checkpoint("/models/llama"), pooling="last", scale="raw")

If a model needs a prompt before its texts, write it in the template; the prompts in a checkpoint's
config_sentence_transformers.json are not applied.

On a CPU the vector of a text is bitwise the same whatever texts are in its batch (see encoder.py). It can differ
between machines: with precision "auto" one may compute in bfloat16 and another in float32. The two vectors have a
cosine of 0.9999 or more. Set the precision where the workers of a run differ.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, RowError, Values
from operators.checkpoint import MINILM, Checkpoint
from operators.embedding.advice import Advice
from operators.embedding.dense import Dense
from operators.missing import ModelMissing
from operators.models.cutting import cut
from operators.models.precision import Precision
from operators.models.probes import PROBES
from operators.positions import refuse_too_many
from operators.templated import Templated
from operators.unknown import UNREADABLE, refuse_unreadable


@dataclass(frozen=True, config=STRICT)
class Embed(Templated):
    """One vector per sample: the pooled last hidden states of a model over a text made of the sample's messages."""

    version: ClassVar[int] = 2

    model: Checkpoint = Checkpoint(MINILM)
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    """auto: the pooling of the checkpoint's sentence-transformers configuration, mean where it has none."""
    scale: Literal["unit", "raw"] = "unit"
    """unit: length 1, as the output of encoders with a Normalize module; raw: as pooled."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The maximum number of tokens of a text, special ones included; None: the checkpoint's own limit."""
    precision: Precision = "auto"
    """auto: bfloat16 where the hardware multiplies it and its vectors of the probes are close to those of float32."""
    stored: Literal["float16", "float32"] = "float16"

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there; ValueError where it has fewer positions than max_tokens."""
        try:
            self.model.check()
        except ModelMissing as error:
            if self.model.name == MINILM or Checkpoint(MINILM).elsewhere():
                raise
            raise ModelMissing(f"{error}. The default model needs no download: leave model.name out") from None
        refuse_too_many(self.model, self.max_tokens)

    def advice(self, kind: str, column: str) -> str:
        """Names multilingual models where this one cannot read the texts."""
        if kind != UNREADABLE:
            return ""
        return (
            "multilingual models such as intfloat/multilingual-e5-small and BAAI/bge-m3 read most languages: "
            f"set {column}.model.name=intfloat/multilingual-e5-small"
        )

    def load(self) -> Compute:
        """A function from a batch to an array (rows, dimensions), or to a list with a RowError for rows without one.

        The kinds of error are empty_text, unreadable (operators/unknown.py), nonfinite and zero_vector. The texts of a
        batch are sorted by length, so large batches (1,000 texts and more) are faster. ValueError for more max_tokens
        than the model has positions, and for a pooling or a module that is not known here.
        """
        import torch
        from transformers import AutoTokenizer

        from operators.embedding import encoder
        from operators.models.ahead import overlapped

        refuse_too_many(self.model, self.max_tokens)
        folder = self.model.folder()
        advice = Advice.read(folder)
        pooling = advice.chosen_pooling() if self.pooling == "auto" else self.pooling
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        limit = advice.token_limit(self.max_tokens, tokenizer.model_max_length)
        padding = next((known for known in (tokenizer.pad_token_id, tokenizer.eos_token_id) if known is not None), 0)

        def written(texts: Sequence[str]) -> list[str]:
            shown = [text.lower() if advice.lowercase else text for text in texts]
            # A tokenizer that keeps the end of a long text has to see it.
            return shown if tokenizer.truncation_side == "left" else [cut(text, limit, counted) for text in shown]

        def counted(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

        probes = _token_ids(tokenizer, written(PROBES), limit)
        model = encoder.load(folder, self.precision, probes, padding, pooling)
        layers = [Dense.read(path) for path in advice.dense]

        def tokenize(batch: pa.Table) -> tuple[list[list[int]], dict[int, RowError]]:
            texts = written(self.texts(batch))
            rows = _token_ids(tokenizer, texts, limit)
            refused = {at: _refused(tokenizer, *each, limit) for at, each in enumerate(zip(texts, rows, strict=True))}
            return rows, {at: error for at, error in refused.items() if error is not None}

        def compute(tokenized: tuple[list[list[int]], dict[int, RowError]]) -> Values:
            rows, errors = tokenized
            filled = [at for at in range(len(rows)) if at not in errors]
            if not filled:
                return [errors[at] for at in range(len(rows))]
            vectors = encoder.encode(model, [rows[at] for at in filled], pooling)
            for layer in layers:
                vectors = layer(vectors)
            return self._finished(vectors, filled, errors)

        return overlapped(tokenize, compute, "cuda" if torch.cuda.is_available() else "cpu")

    def _finished(self, vectors: np.ndarray, filled: list[int], errors: dict[int, RowError]) -> Values:
        """The values of all rows; filled: the rows that the vectors are of; errors: of the other rows."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            scaled = vectors / norms if self.scale == "unit" else vectors
            stored = scaled.astype(self.stored)
        usable = np.atleast_1d(np.isfinite(stored).all(axis=1))
        for at, norm, finite in zip(filled, norms[:, 0], usable, strict=True):
            if norm == 0:
                errors[at] = RowError("zero_vector")
            elif not finite:
                overflow = self.stored == "float16" and np.isfinite(norm)
                errors[at] = RowError("nonfinite", "too large for float16: stored=float32" if overflow else "")
        if not errors:
            return stored
        computed = dict(zip(filled, stored, strict=True))
        return [errors.get(at, computed.get(at)) for at in range(len(computed.keys() | errors.keys()))]


def _token_ids(tokenizer: Any, texts: list[str], limit: int) -> list[list[int]]:
    """The token ids of each text, special tokens included, by one call of the tokenizer."""
    if not texts:
        return []
    return tokenizer(
        texts,
        truncation=True,
        max_length=limit,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]


def _refused(tokenizer: Any, text: str, tokens: list[int], limit: int) -> RowError | None:
    """The reason why a text with these tokens has no vector; None where it has one."""
    if not tokens or not text.strip():
        return RowError("empty_text")
    try:
        refuse_unreadable(tokenizer, tokens, text, limit=limit)
    except RowError as error:
        return error
    return None
