"""The error of a classifier for a text: the EL2N of its class and of its slots.

    ClassError(Checkpoint("/runs/epoch-4"), labels=Labels(label="intent", slots="slots", words="tokens"))

EL2N is the length of the vector softmax minus one-hot (Paul et al. 2021, arXiv 2107.07075, definition 2.3). An
utterance has one for its intent and one for each slot (Attendu and Corbeil 2023, arXiv 2306.03208, and their
trainer/callbacks.py). `kernels.nlu_diet.joint_error` combines them to one number.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.models.precision import Precision
from operators.positions import SampleTokens, refuse_too_many
from operators.supervision.labels import Labels
from operators.supervision.supervised import Supervised

FIELDS = ("el2n", "slot_sum", "slot_fro", "nll_mean")


@dataclass(frozen=True, config=STRICT)
class ClassError(Operator):
    """The EL2N of a text's class (0 to the root of 2), and that of its slots: sum, and root of the sum of squares."""

    version: ClassVar[int] = 2

    reads = ("messages", "raw")

    gives: ClassVar[pa.DataType | None] = pa.struct(
        [
            *((name, pa.float32()) for name in FIELDS),
            ("slots", pa.int64()),
            ("slots_right", pa.int64()),
            ("tokens", pa.int64()),
            ("right", pa.bool_()),
            ("truncated", pa.bool_()),
        ]
    )

    model: Checkpoint
    labels: Labels
    """Where texts and labels are, with the names that the model was trained to predict."""
    max_tokens: SampleTokens = None
    """The maximum number of tokens of a text; a longer one is cut and its value flagged."""
    dropout: Literal["off", "on"] = "off"
    """on: as in training, with a seed of its own for each sample."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere."""

    def check(self) -> None:
        """ModelMissing where the model is not there; ValueError for more tokens than positions."""
        self.model.check()
        refuse_too_many(self.model, self.max_tokens)

    def load(self) -> Compute:
        """A function from a batch to one struct or RowError per row.

        The struct has FIELDS, of which `nll_mean` is that of the class (nats); the numbers of slots, of correctly
        predicted slots and of tokens; whether the class is predicted correctly, and whether the text was cut. The kinds
        of error are those of `Labelling`, and nonfinite. On a CPU, and with dropout on any device, a value is bitwise
        the same whatever samples are in its batch. ValueError for a model that predicts other labels.
        """
        import torch

        from operators.losses.classifier import classifier
        from operators.models.ahead import overlapped
        from operators.models.by_length import Budget
        from operators.models.memory import forward_budget
        from operators.models.tokenized import fitting_labelling, labelled, values_of

        model = classifier(self.model, self.labels, self.precision)
        labelling = fitting_labelling(model, self.model, self.labels, self.max_tokens)
        model.train(self.dropout == "on")
        budget = Budget(1) if self.dropout == "on" else forward_budget(model)

        def values(rows: list[Supervised]) -> list[dict[str, Any] | RowError]:
            def computed(group: list[int]) -> Iterator[dict[str, Any] | RowError]:
                torch.manual_seed(rows[group[0]].id)
                return _values(model, [rows[at] for at in group], self.labels)

            with torch.inference_mode(), torch.random.fork_rng():
                return budget.values([len(row.input_ids) for row in rows], computed)

        device = next(model.parameters()).device
        return overlapped(lambda batch: labelled(labelling, batch), lambda rows: values_of(rows, values), device.type)


def _values(model: Any, rows: list[Supervised], labels: Labels) -> Iterator[dict[str, Any] | RowError]:
    """The value of each text of one pass."""
    import torch
    import torch.nn.functional as F

    from operators.kernels.token_stats import el2n
    from operators.losses.classifier import predictions

    found = predictions(model, rows, labels)
    sums = torch.zeros(4, len(rows), device=found.classes.device)
    if found.slots is not None and found.slot_labels is not None and found.text is not None:
        errors, right = el2n(found.slots, found.slot_labels), found.slots.argmax(1) == found.slot_labels
        of_slots = torch.stack([errors, errors.square(), torch.ones_like(errors), right.float()])
        sums = sums.index_add(1, found.text, of_slots)
    columns = [
        el2n(found.classes, found.labels),
        sums[0],
        sums[1].sqrt(),
        F.cross_entropy(found.classes, found.labels, reduction="none"),
        sums[2].long(),
        sums[3].long(),
        found.correct,
    ]
    names = (*FIELDS, "slots", "slots_right", "right")
    for row, values in zip(rows, zip(*(column.tolist() for column in columns), strict=True), strict=True):
        value = dict(zip(names, values, strict=True)) | {"tokens": len(row.input_ids), "truncated": row.truncated}
        finite = all(math.isfinite(value[name]) for name in FIELDS)
        yield value if finite else RowError("nonfinite", "the error is NaN or infinite")
