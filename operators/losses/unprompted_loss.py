"""The loss of the tokens of a sample's response where the model does not see the instruction.

    UnpromptedLoss(Checkpoint("/models/base"), template="alpaca", max_tokens=512)

It is of the same tokens as `Loss` with the same fields, so that the two can be divided (IFD; Li et al. 2023, arXiv
2308.12032). The responses of several turns follow one another.
"""

from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators.base import STRICT, RowError
from operators.losses.loss import Loss
from operators.supervision.supervised import IGNORED, Supervised, Supervision


@dataclass(frozen=True, config=STRICT)
class UnpromptedLoss(Loss):
    """As `Loss`, of the response alone, after the token with which the model's texts begin."""

    version: ClassVar[int] = 1

    def tokenized(self, supervision: Supervision, batch: pa.Table) -> list[Supervised | RowError]:
        """The response of each sample, or the reason why it has none; errors as for `Loss`.

        ValueError for a tokenizer that has neither a beginning-of-sequence nor an end-of-sequence token.
        """
        from operators.models.tokenized import attempts

        first = beginning(supervision)
        return [alone(row, first) if isinstance(row, Supervised) else row for row in attempts(supervision, batch)]


def beginning(supervision: Supervision) -> int:
    """The token with which a text begins: that of the beginning of a sequence, or that of the end of the one before."""
    tokenizer = supervision.tokenizer
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return token
    raise ValueError(
        "the tokenizer has neither a beginning-of-sequence nor an end-of-sequence token, after which a response could "
        "begin; give it one (bos_token in tokenizer_config.json)"
    )


def alone(row: Supervised, first: int) -> Supervised:
    """The tokens of the sample that are trained on, after the token `first`."""
    tokens = tuple(label for label in row.labels[1:] if label != IGNORED)
    return replace(row, input_ids=(first, *tokens), labels=(IGNORED, *tokens))
