"""The source of each of some samples: the file that it is from, or a field of its record."""

from dataclasses import dataclass

import numpy as np
import ray

from jobs.engine.pool.subset import Subset
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.terminal.errors import UsageError
from operators.field import Field


@dataclass(frozen=True)
class Sources:
    """The sources of each of some samples."""

    names: tuple[str, ...]
    """Sorted."""
    of: np.ndarray
    """(n,) int32, the position in `names` of each sample's source."""

    @classmethod
    def read(cls, samples: Subset, field: str | None) -> "Sources":
        """The sources of these samples, by id; field: of the records, or None for the files. A task reads them."""
        return ray.get(_read.remote(samples.origin.parts, samples.ids, field))

    def named_by(self, field: str | None) -> "Sources":
        """These sources. UsageError where a field was to name them, and no sample has it."""
        if field is not None and self.names == ("",):
            raise UsageError(f"source={field}: no sample has a value in this field")
        return self


@ray.remote(num_cpus=1)
def _read(parts: Parts, ids: np.ndarray, field: str | None) -> Sources:
    """The sources; only some records are in memory at a time, and each name once."""
    column = "source" if field is None else "raw"
    numbers: dict[str, int] = {}
    found = [np.empty(0, np.int32)]
    for table in read_samples(parts, ids, [column]):
        labels = table[column].to_pylist() if field is None else Field(field).load()(table)
        found.append(np.array([numbers.setdefault(str(label), len(numbers)) for label in labels], np.int32))
    names = sorted(numbers)
    place = np.empty(len(names), np.int32)
    place[[numbers[name] for name in names]] = np.arange(len(names))
    return Sources(tuple(names), place[np.concatenate(found)])
