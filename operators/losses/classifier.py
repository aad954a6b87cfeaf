"""What a classifier predicts of texts: the logits of their class, and of each slot, from one forward pass."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from operators.checkpoint import Checkpoint
from operators.models.forward import Row, padded
from operators.models.loading import placed_model
from operators.models.precision import Precision
from operators.supervision.labels import Labels
from operators.supervision.supervised import IGNORED


@dataclass(frozen=True)
class Predictions:
    """The logits of some texts, and the labels that are correct."""

    classes: Tensor
    """(texts, classes) float32 logits."""
    labels: Tensor
    """(texts,) int64, the correct classes."""
    slots: Tensor | None = None
    """(slots of all texts, slot names) float32 logits; None for a classifier without slots."""
    slot_labels: Tensor | None = None
    """(slots,) int64, the correct slot names."""
    text: Tensor | None = None
    """(slots,) int64, the text that each slot belongs to."""

    @property
    def correct(self) -> Tensor:
        """(texts,) bool, whether the class with the largest logit is the correct one."""
        return self.classes.argmax(1) == self.labels

    def losses(self) -> Tensor:
        """(texts,) float32 cross-entropy of the class; with slots, half of it and half of theirs, summed."""
        losses = F.cross_entropy(self.classes, self.labels, reduction="none")
        if self.slots is None or self.slot_labels is None or self.text is None:
            return losses
        of_slots = F.cross_entropy(self.slots, self.slot_labels, reduction="none")
        return torch.index_add(losses / 2, 0, self.text, of_slots / 2)


def predictions(model: Any, rows: Sequence[Row], labels: Labels) -> Predictions:
    """The model's predictions of texts that a `Labelling` made; padding is masked, and nothing depends on it."""
    ids, targets = padded(rows, next(model.parameters()).device)
    lengths = torch.tensor([len(row.labels) for row in rows], device=ids.device)
    attended = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    filled = ids.masked_fill(~attended, model.config.pad_token_id)
    logits = model(input_ids=filled, attention_mask=attended.long()).logits.float()
    if not labels.slots:
        return Predictions(logits, targets.gather(1, lengths[:, None] - 1)[:, 0])
    count = len(labels.classes)
    names_class = (targets != IGNORED) & (targets < count)
    names_slot = targets >= count
    return Predictions(
        logits[names_class][:, :count],
        targets[names_class],
        logits[names_slot][:, count:],
        targets[names_slot] - count,
        names_slot.nonzero()[:, 0],
    )


def classifier(checkpoint: Checkpoint, labels: Labels, precision: Precision) -> Any:
    """The model in eval mode, on the GPU where there is one; no parameter requires a gradient.

    ModelMissing where it is not there; ValueError where it lacks weights or predicts other labels.
    """
    folder = checkpoint.folder()
    listed = json.loads((folder / "config.json").read_text()).get("id2label", {})
    names = tuple(name for _, name in sorted((int(number), name) for number, name in listed.items()))
    if not labels.named() or names != (*labels.classes, *labels.slot_names):
        raise ValueError(f"the model in {folder} predicts {len(names)} other labels: {', '.join(names[:20])}")
    kind = AutoModelForTokenClassification if labels.slots else AutoModelForSequenceClassification
    return placed_model(folder, kind, precision).requires_grad_(False)
