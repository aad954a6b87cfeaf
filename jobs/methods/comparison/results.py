"""What a recipe's run has left in its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from jobs.engine.command.taken import manifest_in
from jobs.engine.outcome.ledger import KEPT, ledger_in
from jobs.engine.store.folder import Folder


@dataclass(frozen=True)
class Result:
    """A selection, and the record of how it came about."""

    kept: np.ndarray
    """(k,) int64 ids, best first, in the pool of `folder`."""
    folder: str
    """The pool that the selection is from: a recipe may have grown the pool of the inputs."""
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, out: Folder) -> "Result":
        """The result of a finished run."""
        manifest = manifest_in(out)
        kept = ledger_in(out).to_table(["id", "rank"], filter=pc.field("state") == KEPT).sort_by("rank")
        return cls(kept["id"].to_numpy().astype(np.int64), manifest["selected_from"]["folder"], manifest)


def overlap(first: Result, second: Result, samples: int) -> float:
    """The samples that both keep, as a share of those that either keeps (Jaccard); 0 where neither keeps any.

    samples: those of the inputs' pool. A sample that a recipe made is in no selection from another pool.
    """
    ids = [each.kept for each in (first, second)]
    if first.folder != second.folder:
        ids = [each[each < samples] for each in ids]
    both = len(np.intersect1d(*ids, assume_unique=True))
    either = len(first.kept) + len(second.kept) - both
    return both / either if either else 0.0
