"""A driver of its own: a map, and a reduce over shards, one of which kills the driver.

python -m tests.jobs.engine.execute.walk POOL STORE COUNTED GRAVE
"""

import os
import sys

from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session, connect
from jobs.engine.pool.pool import Pool
from jobs.engine.store.store import Store
from tests.nodes import doomed_k_center
from tests.standins import Counts, Hashed

SHARDED = Profile(default=Execution(rows=8, workers=2), reduce_bytes=400)
"""A profile with which 64 vectors of `Hashed` are reduced over several shards."""


def walk(pool: str, session: Session, counted: str, **params):
    """The k-center cover of a pool, and the log of the session."""
    mapped = Pool.open(pool, session).map(vector=Hashed(), one=Counts(file=counted))
    return mapped.reduce(doomed_k_center, "vector", k=20, **params)


if __name__ == "__main__":
    folder, store, written, grave_ = sys.argv[1:]
    connect(SHARDED)
    walk(folder, Session(Store(store), SHARDED), written, driver=os.getpid(), grave=grave_)
