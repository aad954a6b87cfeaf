"""What a classifier tells of texts: logits of their class, and of each slot, from one forward pass.

`class_losses` lets `operators.gradients.taps` take the gradients of each text's loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from operators.gradients.taps import Losses, Pass, Row, linear_layers, padded
from operators.supervision.labels import Labels
from operators.supervision.supervised import IGNORED


@dataclass(frozen=True)
class Told:
    """The logits of some texts, and what they should have told."""

    classes: Tensor
    """(texts, classes) float32"""
    labels: Tensor
    """(texts,) int64, the right classes"""
    slots: Tensor | None = None
    """(slots of all texts, slot names) float32; None for a classifier that tells no slots."""
    slot_labels: Tensor | None = None
    """(slots,) int64"""
    text: Tensor | None = None
    """(slots,) int64, the text that each slot is of"""

    @property
    def right(self) -> Tensor:
        """(texts,) bool, whether the class with the largest logit is the right one."""
        return self.classes.argmax(1) == self.labels

    def losses(self) -> Tensor:
        """(texts,) float32 cross-entropy of the class; with slots, half of it and half of theirs, summed."""
        losses = F.cross_entropy(self.classes, self.labels, reduction="none")
        if self.slots is None or self.slot_labels is None or self.text is None:
            return losses
        of_slots = F.cross_entropy(self.slots, self.slot_labels, reduction="none")
        return torch.index_add(losses / 2, 0, self.text, of_slots / 2)


def told(model: Any, rows: Sequence[Row], labels: Labels) -> Told:
    """What the model tells of texts that a `Labelling` made; padding is masked, and nothing depends on it."""
    ids, targets = padded(rows, next(model.parameters()).device)
    lengths = torch.tensor([len(row.labels) for row in rows], device=ids.device)
    attended = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    filled = ids.masked_fill(~attended, model.config.pad_token_id)
    logits = model(input_ids=filled, attention_mask=attended.long()).logits.float()
    if not labels.slots:
        return Told(logits, targets.gather(1, lengths[:, None] - 1)[:, 0])
    count = len(labels.classes)
    names_class = (targets != IGNORED) & (targets < count)
    names_slot = targets >= count
    return Told(
        logits[names_class][:, :count],
        targets[names_class],
        logits[names_slot][:, count:],
        targets[names_slot] - count,
        names_slot.nonzero()[:, 0],
    )


def class_losses(labels: Labels) -> Losses:
    """What `Told.losses` says of each text, for `taps.backward`.

    Padding is masked, so that its errors are zero: gradients do not know of it either.
    """

    def losses(model: Any, rows: Sequence[Row]) -> Pass:
        return Pass(lambda: told(model, rows, labels).losses(), dict.fromkeys(_after_pooling(model), _one_token))

    return losses


def head_layers(model: Any) -> dict[str, nn.Linear]:
    """The linear layers of a classifier's head: those outside the model that reads the text."""
    body = f"{model.base_model_prefix}."
    return {name: layer for name, layer in linear_layers(model).items() if not name.startswith(body)}


def _after_pooling(model: Any) -> list[nn.Linear]:
    """The layers that may be given one state a text, (texts, width).

    Of no other is it taken so: one to which tokens are sent by their kind, as to an expert, has a row a token.
    """
    head = head_layers(model)
    return [layer for name, layer in linear_layers(model).items() if name in head or ".pooler." in name]


def _one_token(states: Tensor) -> Tensor:
    return states[:, None] if states.dim() == 2 else states
