"""Kernels over one column of numbers: ranks, thresholds, and what passes them."""

from collections.abc import Callable
from typing import Any

from jobs.engine.execute.reducing import reduced
from jobs.engine.execute.rows import Stored
from jobs.engine.execute.session import Session
from jobs.engine.execute.spread import spread
from jobs.engine.pool.column import Column
from jobs.engine.pool.held import Held


def found_among(
    kernel: Callable[..., Any], column: Column, name: str, samples: Held, session: Session, **params: Any
) -> Any:
    """What a kernel finds among the values of a column for these samples, by ascending id.

    name: as in `Subset.values`. It runs in this process. Where the values are in the store and larger than
    `reduce_bytes`, it runs on workers.
    """
    field = name.partition(".")[2]
    if column.feature and field not in column.read:
        rows = Stored(column.feature, field, samples.ids())
        where = spread(kernel, {name: rows}, len(rows.ids), session.profile)
        if where.shards > 1 or where.at_once:
            return reduced(kernel, {name: rows}, len(rows.ids), params, session)
        del rows
    return kernel(column.values(samples, field), **params)
