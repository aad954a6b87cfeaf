"""The samples of a training run as tokens and labels, packed; several ranks divide the tokenizing among themselves."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.engine.samples.reading import Parts, read_samples
from operators.base import RowError
from operators.supervision.supervised import Supervised

if TYPE_CHECKING:
    from operators.training.ranks import Ranks


def tokenized(
    parts: Parts, ids: np.ndarray, columns: Sequence[str], supervision: Callable[..., Supervised], together: "Ranks"
) -> "Tokenized":
    """The samples with these ids (ascending) that the supervision accepts, in order, on every rank.

    columns: what the supervision takes of a sample besides its id. Each rank reads and tokenizes a share of the
    samples, and gets the others' tokens from the other ranks.
    """
    share = np.array_split(ids, together.count)[together.rank]
    return Tokenized.joined(together.exchanged(Tokenized.of(_read(parts, share, ["id", *columns]), supervision)))


def _read(parts: Parts, ids: np.ndarray, columns: list[str]) -> Iterable[tuple[Any, ...]]:
    """The columns of each sample."""
    for table in read_samples(parts, ids, columns):
        yield from zip(*(table[name].to_pylist() for name in columns), strict=True)


class Tokenized(Sequence[Supervised]):
    """The samples that can be trained on, packed into 8 bytes per token."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        """The number of samples that cannot be trained on, by the kind of error."""
        self.example = ""
        """The first of them and its error, for a message."""
        self.truncated = 0
        """The number of samples that were cut."""
        self._ids = array("q")
        self._ends = array("q", [0])
        self._tokens = array("i")
        self._labels = array("i")

    @classmethod
    def of(cls, conversations: Iterable[tuple[Any, ...]], supervision: Callable[..., Supervised]) -> "Tokenized":
        """The samples that the supervision accepts, in order.

        conversations: of each sample the id, then the supervision's other arguments.
        """
        made = cls()
        for sample, *content in conversations:
            try:
                made._append(supervision(sample, *content))
            except RowError as error:
                made.left_out[error.kind] += 1
                made.example = made.example or f"the first is sample {sample}: {error}"
        return made

    @classmethod
    def joined(cls, parts: "Sequence[Tokenized]") -> "Tokenized":
        """The samples of all parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        made = cls()
        for part in parts:
            made.left_out += part.left_out
            made.example = made.example or part.example
            made.truncated += part.truncated
            made._ids += part._ids
            made._ends.extend(len(made._tokens) + end for end in part._ends[1:])
            made._tokens += part._tokens
            made._labels += part._labels
        return made

    def _append(self, sample: Supervised) -> None:
        self._ids.append(sample.id)
        self._tokens.extend(sample.input_ids)
        self._labels.extend(sample.labels)
        self._ends.append(len(self._tokens))
        self.truncated += sample.truncated

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, position: Any) -> Any:
        start, end = self._ends[position], self._ends[position + 1]
        return Supervised(self._ids[position], tuple(self._tokens[start:end]), tuple(self._labels[start:end]))
