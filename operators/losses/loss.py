"""The loss and the EL2N of the tokens of a sample's response under a language model, by one forward pass.

    Loss(Checkpoint("/models/base"), template="alpaca", max_tokens=512)          # one of LoBaSS's two models
    Loss(Checkpoint("/models/base"), adapter=Checkpoint("/runs/warmup/epoch-1"))    # EL2N after an epoch

LoBaSS and DavIR (arXiv 2310.13008) compare the loss under two models. EL2N is the score of the data diets (Paul et al.
2021, arXiv 2107.07075, definition 2.3). Here it is per token, over the supervised tokens only, as in Marion et al.
2023 (arXiv 2309.04564, equation 6). The values of two models are of the same tokens where template and tokenizer are
the same.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.models.precision import Precision
from operators.positions import SampleTokens, refuse_too_many
from operators.supervision.supervised import IGNORED, Supervised, Supervision, Template

if TYPE_CHECKING:
    from torch import Tensor

    from operators.kernels.token_stats import TokenStats

FIELDS = ("nll_mean", "nll_sum", "el2n_mean", "el2n_sum", "el2n_fro")


@dataclass(frozen=True, config=STRICT)
class Loss(Operator):
    """For the tokens of a response: their number, negative log-likelihood (nats) and EL2N (0 to the root of 2)."""

    version: ClassVar[int] = 2

    gives: ClassVar[pa.DataType | None] = pa.struct(
        [("tokens", pa.int64()), *((name, pa.float32()) for name in FIELDS), ("truncated", pa.bool_())]
    )

    model: Checkpoint
    adapter: Checkpoint | None = None
    """A LoRA adapter of the model, such as the folder of an epoch of a training run."""
    template: Template = "tulu"
    max_tokens: SampleTokens = None
    """The maximum number of tokens of a sample; a longer one is cut and its value flagged."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere. Compare losses of one precision only."""

    def check(self) -> None:
        """ModelMissing where model or adapter is not there; ValueError for more tokens than positions."""
        self.model.check()
        if self.adapter is not None:
            self.adapter.check()
        refuse_too_many(self.model, self.max_tokens)

    def load(self) -> Compute:
        """A function from a batch to one struct or RowError per row: tokens, FIELDS and whether the sample was cut.

        `el2n_fro` is the root of the sum of squares. The kinds of error are those of `Supervision`, and nonfinite. On a
        CPU a value is bitwise the same whatever samples are in its batch. The passes of a GPU are as large as its
        memory allows; OutOfMemoryError where a sample alone does not fit. ValueError for an adapter or a template that
        does not fit the model.
        """
        import torch

        from operators.models import forward
        from operators.models.ahead import overlapped
        from operators.models.causal import causal_model
        from operators.models.memory import forward_budget
        from operators.models.tokenized import fitting_supervision, values_of

        model = causal_model(self.model, self.adapter, self.precision)
        supervision = fitting_supervision(model, self.model, self.template, self.max_tokens)
        head = forward.language_head(model)
        token_stats = _by_tiles if forward.plain(model, head) else _by_logits
        budget, device = forward_budget(model), next(model.parameters()).device

        def values(rows: list[Supervised]) -> list[dict[str, Any] | RowError]:
            with torch.inference_mode():
                return budget.values(
                    [len(row.input_ids) for row in rows],
                    lambda group: _values(model, head, [rows[at] for at in group], token_stats),
                )

        return overlapped(
            lambda batch: self.tokenized(supervision, batch), lambda rows: values_of(rows, values), device.type
        )

    def tokenized(self, supervision: Supervision, batch: pa.Table) -> list[Supervised | RowError]:
        """The tokens of each sample of the batch, or the reason why it has none."""
        from operators.models.tokenized import attempts

        return attempts(supervision, batch)


def _values(model: Any, head: Any, rows: list[Supervised], token_stats: Callable[..., "TokenStats"]) -> list[Any]:
    """The value of each row, computed together."""
    import torch.nn.functional as F

    from operators.kernels.token_stats import sample_stats
    from operators.models.forward import padded

    ids, labels = padded(rows, next(model.parameters()).device)
    supervised = F.pad(labels[:, 1:] != IGNORED, (0, 1))
    stats = token_stats(model, head, ids, supervised, labels.roll(-1, 1)[supervised])
    found = sample_stats(stats, supervised.nonzero()[:, 0], len(rows))
    columns = {name: getattr(found, name).tolist() for name in ("tokens", *FIELDS)}
    values = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    finite = found.nll_sum.isfinite().tolist()
    return [
        value | {"truncated": row.truncated} if usable else RowError("nonfinite", "the loss is NaN or infinite")
        for value, row, usable in zip(values, rows, finite, strict=True)
    ]


def _by_tiles(model: Any, head: Any, ids: "Tensor", supervised: "Tensor", targets: "Tensor") -> "TokenStats":
    """The statistics from the hidden states before the head, without a table of all logits."""
    from operators.kernels.token_stats import token_stats
    from operators.models.forward import caught

    with caught(head) as states:
        model(input_ids=ids, use_cache=False)
    return token_stats(states[0][supervised], head.weight, targets, head.bias)


def _by_logits(model: Any, head: Any, ids: "Tensor", supervised: "Tensor", targets: "Tensor") -> "TokenStats":
    """The statistics from the model's logits at the supervised positions, for a model that caps or scales them."""
    import torch.nn.functional as F

    from operators.kernels.token_stats import TokenStats, el2n
    from operators.models.forward import hidden_at

    with hidden_at(head, supervised):
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
    return TokenStats(F.cross_entropy(logits, targets, reduction="none"), el2n(logits, targets))
