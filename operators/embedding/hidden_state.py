"""The vector of a sample from the hidden states of a language model that reads it whole.

    HiddenState(Checkpoint("/models/base"), template="tulu", max_tokens=2048)

The last hidden states of all tokens are averaged, a later token weighing more: token i of T has the weight
i / (1 + ... + T), as in SGPT (Muennighoff 2022, arXiv 2202.08904). In a causal model only the last tokens have seen
the whole sample. RDS+ (Ivison et al. 2025, arXiv 2503.01807) compares samples by these vectors.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.models.precision import Precision
from operators.positions import SampleTokens, refuse_too_many
from operators.supervision.supervised import Supervised, Template

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, config=STRICT)
class HiddenState(Operator):
    """One vector per sample, of length 1: its hidden states, averaged by position."""

    model: Checkpoint
    template: Template = "tulu"
    """How a sample is written out; instruction and response are read, as in training."""
    max_tokens: SampleTokens = None
    """The maximum number of tokens of a sample; a longer one is cut."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere."""

    def check(self) -> None:
        """ModelMissing where the model is not there; ValueError for more tokens than positions."""
        self.model.check()
        refuse_too_many(self.model, self.max_tokens)

    def load(self) -> Compute:
        """A function from a batch to a float16 vector or a RowError per row.

        The kinds of error are those of `Supervision`, and nonfinite. On a CPU a vector is bitwise the same whatever
        samples are in its batch. ValueError for a template that does not fit the model.
        """
        import torch

        from operators.models import forward
        from operators.models.ahead import overlapped
        from operators.models.causal import causal_model
        from operators.models.memory import body_budget
        from operators.models.tokenized import attempts, fitting_supervision, values_of

        model = causal_model(self.model, None, self.precision)
        supervision = fitting_supervision(model, self.model, self.template, self.max_tokens)
        head, budget, device = forward.language_head(model), body_budget(model), next(model.parameters()).device

        def values(rows: list[Supervised]) -> list[np.ndarray | RowError]:
            lengths = [len(row.input_ids) for row in rows]

            def computed(group: list[int]) -> Iterator[np.ndarray | RowError]:
                ids, _ = forward.padded([rows[at] for at in group], device)
                with forward.caught(head) as states:
                    model(input_ids=ids, use_cache=False)
                for at, state in zip(group, states[0], strict=True):
                    yield _value(pooled(state[: lengths[at]]).cpu().numpy())

            with torch.inference_mode():
                return budget.values(lengths, computed)

        return overlapped(lambda batch: attempts(supervision, batch), lambda rows: values_of(rows, values), device.type)


def pooled(states: "Tensor") -> "Tensor":
    """The mean of the states of T tokens, (T, width), each weighted by its place from 1 to T; (width,) float32."""
    import torch

    places = torch.arange(1, len(states) + 1, device=states.device, dtype=torch.float32)
    return (places / places.sum()) @ states.float()


def _value(vector: np.ndarray) -> np.ndarray | RowError:
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or not length:
        return RowError("nonfinite", "the hidden states are NaN, infinite or all zero")
    return (vector / length).astype(np.float16)
