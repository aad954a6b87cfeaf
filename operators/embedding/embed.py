"""The embedding of a text of each sample, by a sentence encoder or any other transformer.

    Embed()                                                  # all-MiniLM-L6-v2 of the whole conversation
    Embed(model=Checkpoint("intfloat/e5-base-v2"), text="query: {instruction}")
    Embed(model=Checkpoint("/models/llama"), pooling="last", scale="raw")

A prompt that a model wants before its texts is written in the template; the prompts that a checkpoint lists in
config_sentence_transformers.json are not applied.

On a CPU a text's vector is bitwise the same whatever texts are with it (encoder.py says how). Between
machines it is not: with precision "auto" one may compute in bfloat16 and another in float32, whose vectors have a
cosine of 0.9999 or more. Set the precision where the workers of a run are not alike.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, RowError, Values
from operators.checkpoint import MINILM, Checkpoint
from operators.embedding.dense import Dense
from operators.models.precision import Precision
from operators.positions import positions, refuse_too_many
from operators.templated import Templated
from operators.unknown import UNREADABLE, refuse_unreadable

# Short and long, of several scripts: what `precision="auto"` is decided on and what the encoder checks itself with.
PROBES = (
    "Yes.",
    "Name three primary colors.",
    "Écris une lettre polie à ton voisin pour lui demander de baisser la musique après 22 h.",
    "请把下面的句子翻译成英文，并解释其中的成语：他做事总是画蛇添足，结果适得其反。",
    "def median(values):\n    ordered = sorted(values)\n    return ordered[len(ordered) // 2]  # of 3, 5, 7 ...",
    "Напишите краткое изложение причин, по которым Римская империя пришла в упадок, в трёх пунктах.",
    "اشرح الفرق بين الطقس والمناخ بجملتين. 気候変動について簡単に説明してください。",
    "Give a step-by-step plan to move a small web shop to a new host.\n" + "Check the backups, lower the DNS time "
    "to live, copy the database (12.4 GB), compare the row counts, switch the traffic and keep the old host. " * 5,
)

CHARACTERS = 16
"""A text's first piece to look at, in characters a token; most languages and tokenizers need 1 to 6."""

DOUBLINGS = 6
"""How often that piece is doubled at most, to 1,024 characters a token."""

POOLINGS: dict[str, Literal["mean", "cls", "last"]] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
}
"""Our word for sentence-transformers' two spellings of a pooling."""


@dataclass(frozen=True, config=STRICT)
class Embed(Templated):
    """A vector a sample: the pooled last hidden states of a model over a text made of the sample's messages."""

    version: ClassVar[int] = 2

    model: Checkpoint = Checkpoint(MINILM)
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    """auto: what the checkpoint's sentence-transformers configuration says, mean where it has none."""
    scale: Literal["unit", "raw"] = "unit"
    """unit: length 1, as encoders with a Normalize module give; raw: as pooled."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """A text's tokens, special ones included, after which it is cut; None: what the checkpoint says."""
    precision: Precision = "auto"
    """auto: bfloat16 where the hardware multiplies it and it keeps to float32 over the probes, else float32."""
    stored: Literal["float16", "float32"] = "float16"

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there; ValueError where it has fewer positions than max_tokens."""
        self.model.check()
        refuse_too_many(self.model, self.max_tokens)

    def advice(self, kind: str, column: str) -> str:
        """Models that read most languages, where this one cannot read the texts."""
        if kind != UNREADABLE:
            return ""
        return (
            "multilingual models such as intfloat/multilingual-e5-small and BAAI/bge-m3 read most languages: "
            f"set {column}.model.name=intfloat/multilingual-e5-small"
        )

    def load(self) -> Compute:
        """A function from a batch to (rows, dimensions), or to a list with a RowError where a row has no vector.

        The kinds of error are empty_text, unreadable (operators/unknown.py), nonfinite and zero_vector. The batch is
        sorted by length inside, so larger batches (1,000 texts and more) compute faster.
        """
        from transformers import AutoTokenizer

        from operators.embedding import encoder

        refuse_too_many(self.model, self.max_tokens)
        folder = self.model.folder()
        advice = Advice.read(folder)
        pooling = advice.chosen_pooling() if self.pooling == "auto" else self.pooling
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        limit = advice.token_limit(self.max_tokens, tokenizer.model_max_length)
        padding = next((known for known in (tokenizer.pad_token_id, tokenizer.eos_token_id) if known is not None), 0)

        def written(texts: Sequence[str]) -> list[str]:
            return [cut(text.lower() if advice.lowercase else text, limit, counted) for text in texts]

        def counted(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

        probes = _token_ids(tokenizer, written(PROBES), limit)
        model = encoder.load(folder, self.precision, probes, padding, pooling)
        layers = [Dense.read(path) for path in advice.dense]

        def compute(batch: pa.Table) -> Values:
            texts = written(self.texts(batch))
            rows = _token_ids(tokenizer, texts, limit)
            refused = {at: _refused(tokenizer, *each, limit) for at, each in enumerate(zip(texts, rows, strict=True))}
            errors = {at: error for at, error in refused.items() if error is not None}
            filled = [at for at in refused if at not in errors]
            if not filled:
                return [errors[at] for at in range(len(rows))]
            vectors = encoder.encode(model, [rows[at] for at in filled], pooling)
            for layer in layers:
                vectors = layer(vectors)
            return self._finished(vectors, filled, errors)

        return compute

    def _finished(self, vectors: np.ndarray, filled: list[int], errors: dict[int, RowError]) -> Values:
        """The vectors as they are stored, at the rows that have a text; errors: those of the others, by row."""
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


@plain_dataclass(frozen=True)
class Advice:
    """What a checkpoint's configuration says of how it is used."""

    folder: Path
    modules: list[str]
    dense: list[Path]
    pooling: dict[str, Any]
    max_tokens: int | None
    lowercase: bool
    positions: int | None

    @classmethod
    def read(cls, folder: Path) -> "Advice":
        """The advice in a folder; a plain transformer has little of it."""
        listed = _json(folder / "modules.json", [])
        kinds = [module["type"].rsplit(".", 1)[-1] for module in listed]
        pooled = [module["path"] for module, kind in zip(listed, kinds, strict=True) if kind == "Pooling"]
        sentence = _json(folder / "sentence_bert_config.json", {})
        config = _json(folder / "config.json", {})
        bound = positions(config)
        # A model that takes texts of any length still says how long those were that it learnt from.
        advised = config.get("max_position_embeddings") if bound is None else None
        return cls(
            folder=folder,
            modules=kinds,
            dense=[folder / module["path"] for module, kind in zip(listed, kinds, strict=True) if kind == "Dense"],
            pooling=_json(folder / pooled[0] / "config.json", {}) if pooled else {},
            max_tokens=sentence.get("max_seq_length") or advised,
            lowercase=bool(sentence.get("do_lower_case")),
            positions=bound,
        )

    def chosen_pooling(self) -> Literal["mean", "cls", "last"]:
        """The one pooling that the checkpoint names, mean where it names none; ValueError for what is not done here."""
        further = [kind for kind in self.modules if kind not in ("Transformer", "Pooling", "Dense", "Normalize")]
        if further:
            raise ValueError(
                f"{self.folder} has a {further[0]} module, which is not computed here; "
                "to use the transformer without it, set pooling to mean, cls or last"
            )
        written = self.pooling.get("pooling_mode")
        flags = [key for key, on in self.pooling.items() if key.startswith("pooling_mode_") and on is True]
        named = flags if written is None else [written] if isinstance(written, str) else list(written)
        if not named:
            return "mean"
        if len(named) > 1 or named[0] not in POOLINGS:
            raise ValueError(f"{self.folder} pools by {', '.join(named)}; set pooling to mean, cls or last")
        return POOLINGS[named[0]]

    def token_limit(self, wanted: int | None, tokenizer_limit: int) -> int:
        """A text's most tokens: those wanted, else what the checkpoint says."""
        if wanted is not None:
            return wanted
        known = [self.max_tokens or tokenizer_limit, self.positions or tokenizer_limit]
        return min(*known, 1 << 20)  # a tokenizer without a limit says 10**30


def cut(text: str, limit: int, counted: Callable[[str], int]) -> str:
    """The text, or a beginning of it that has the same first `limit` tokens; counted: how many tokens a text has.

    Tokenizing 10 MB for the sake of 256 tokens takes seconds and gigabytes. The beginning is twice as long as a
    piece that already has `limit` tokens, so that where it ends is far (at least CHARACTERS * limit characters)
    from the last token that counts. The vector could differ from the whole text's in two cases only: a
    tokenizer whose words (pieces between blanks, or between CJK characters) reach across all of that distance,
    and a text whose first `limit` tokens need more than 1,024 characters a token, which are runs of blanks or
    words too long for the vocabulary; it is then represented by twice as many characters.
    """
    piece = CHARACTERS * limit
    for _ in range(DOUBLINGS):
        if len(text) <= 2 * piece or counted(text[:piece]) >= limit:
            break
        piece *= 2
    return text[: 2 * piece]


def _token_ids(tokenizer: Any, texts: list[str], limit: int) -> list[list[int]]:
    """The token ids of the texts, special tokens included, in one call."""
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
    """Why a text with these tokens gets no vector; None where it gets one."""
    if not tokens or not text.strip():
        return RowError("empty_text")
    try:
        refuse_unreadable(tokenizer, tokens, text, limit=limit)
    except RowError as error:
        return error
    return None


def _json(path: Path, missing: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else missing
