"""The samples of a batch as tokens and labels for a loaded model; a sample that has none has an error in its place."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from transformers import AutoTokenizer

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.models.loading import sample_tokens
from operators.supervision.labels import Labelling, Labels
from operators.supervision.supervised import Supervised, Supervision, Template

T = TypeVar("T")


def fitting_supervision(model: Any, checkpoint: Checkpoint, template: Template, wanted: int | None) -> Supervision:
    """The function from a conversation to tokens, by the checkpoint's tokenizer.

    wanted: the number of tokens after which a sample is cut; None as in `positions.SampleTokens`. ValueError for more
    tokens than the model has positions, and for a template that does not fit the tokenizer.
    """
    return Supervision(_tokenizer(checkpoint), template, sample_tokens(model, wanted))


def fitting_labelling(model: Any, checkpoint: Checkpoint, labels: Labels, wanted: int | None) -> Labelling:
    """The function from a labelled text to tokens, by the checkpoint's tokenizer; errors as `fitting_supervision`."""
    return Labelling(_tokenizer(checkpoint), labels, sample_tokens(model, wanted))


def attempts(supervision: Supervision, batch: pa.Table) -> list[Supervised | RowError]:
    """The tokens of each sample of the batch, or the reason why it has none; the batch has `id` and `messages`."""
    return _attempted(supervision, batch, ("id", "messages"))


def labelled(labelling: Labelling, batch: pa.Table) -> list[Supervised | RowError]:
    """The tokens and labels of each sample, or the reason why it has none; the batch has `raw` besides."""
    return _attempted(labelling, batch, ("id", "messages", "raw"))


def values_of(tokenized: Sequence[T | RowError], compute: Callable[[list[T]], Iterable[Any]]) -> list[Any]:
    """One value per sample: those that `compute` returns for the samples with tokens, and the errors of the others."""
    values = iter(compute([row for row in tokenized if not isinstance(row, RowError)]))
    return [row if isinstance(row, RowError) else next(values) for row in tokenized]


def _attempted(tokens: Callable[..., Supervised], batch: pa.Table, columns: Sequence[str]) -> list[Any]:
    def attempt(*sample: Any) -> Supervised | RowError:
        try:
            return tokens(*sample)
        except RowError as error:
            return error

    return list(map(attempt, *(batch[name].to_pylist() for name in columns)))


def _tokenizer(checkpoint: Checkpoint) -> Any:
    return AutoTokenizer.from_pretrained(checkpoint.folder(), local_files_only=True)
