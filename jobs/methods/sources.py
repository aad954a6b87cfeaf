"""The source of each of some samples: the file that it is from, or a field of its record."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.engine.pool.subset import Subset
from jobs.engine.samples.reading import read_samples
from operators.field import Field


@dataclass(frozen=True)
class Sources:
    """The sources of each of some samples."""

    names: tuple[str, ...]
    of: np.ndarray
    """(n,) int64, the position in `names` of each sample's source."""

    @classmethod
    def read(cls, samples: Subset, field: str | None) -> "Sources":
        """The sources of these samples, by id; field: of the records, or None for the files."""
        column = "source" if field is None else "raw"
        table = pa.concat_tables(read_samples(samples.origin.parts, samples.ids, [column]))
        labels = table[column].to_pylist() if field is None else Field(field).load()(table)
        names, of = np.unique(np.array(labels, object).astype(str), return_inverse=True)
        return cls(tuple(names.tolist()), of.astype(np.int64))
