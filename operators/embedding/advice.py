"""The settings that a checkpoint's own configuration gives for embedding texts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from operators.positions import positions

POOLINGS: dict[str, Literal["mean", "cls", "last"]] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
}
"""The pooling for each of the two ways in which sentence-transformers spells it."""


@dataclass(frozen=True)
class Advice:
    """How a checkpoint is meant to be used, by its configuration."""

    folder: Path
    modules: list[str]
    """The kinds of its sentence-transformers modules, in order."""
    dense: list[Path]
    """The folders of its Dense modules."""
    pooling: dict[str, Any]
    """The configuration of its Pooling module; empty without one."""
    max_tokens: int | None
    lowercase: bool
    positions: int | None
    """The maximum number of tokens of an input; None where the model has no such bound."""

    @classmethod
    def read(cls, folder: Path) -> "Advice":
        """The advice in a folder; a plain transformer gives little."""
        listed = _json(folder / "modules.json", [])
        kinds = [module["type"].rsplit(".", 1)[-1] for module in listed]
        pooled = [module["path"] for module, kind in zip(listed, kinds, strict=True) if kind == "Pooling"]
        sentence = _json(folder / "sentence_bert_config.json", {})
        config = _json(folder / "config.json", {})
        bound = positions(config)
        # A model for texts of any length still gives the length of those that it was trained on.
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
        """The pooling that the checkpoint names, mean where it names none; ValueError for an unknown one."""
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
        """The maximum number of tokens of a text: the wanted number, else the checkpoint's own limit."""
        if wanted is not None:
            return wanted
        known = [self.max_tokens or tokenizer_limit, self.positions or tokenizer_limit]
        return min(*known, 1 << 20)  # a tokenizer without a limit gives 10**30


def _json(path: Path, missing: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else missing
