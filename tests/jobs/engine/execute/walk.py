"""A driver of its own: a map, and a reduce over shards, one of which kills the driver.

python -m tests.jobs.engine.execute.walk POOL STORE GRAVE
"""

import os
import sys

from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session, connect
from jobs.engine.pool.pool import Pool
from jobs.engine.store.store import Store
from tests.nodes import doomed_k_center
from tests.standins import Hashed


def sharded(count: int) -> Profile:
    """A profile with which 64 vectors of `Hashed` are reduced over so many shards, where there are no more nodes."""
    return Profile(default=Execution(rows=8, workers=2), reduce_bytes=64 * 8 * 4 // count + 40)


def walk(pool: str, session: Session, **params):
    """The k-center cover of a pool."""
    return Pool.open(pool, session).map(vector=Hashed()).reduce(doomed_k_center, "vector", k=20, **params)


if __name__ == "__main__":
    folder, store, grave_ = sys.argv[1:]
    connect(sharded(2))
    walk(folder, Session(Store(store), sharded(2)), driver=os.getpid(), grave=grave_)
