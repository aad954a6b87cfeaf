"""What a command does before its first verb: it locks the store, connects to Ray, and looks for nodes with GPUs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jobs.engine.execute.capacity import refuse_without_nodes
from jobs.engine.execute.session import Session, connect
from jobs.engine.store.lock import locked
from jobs.engine.terminal.screen import say


@contextmanager
def started(session: Session, steps: Mapping[str, object]) -> Iterator[None]:
    """Holds the lock of the store while the block runs, on a cluster whose nodes can have the GPUs that the steps take.

    steps: the operators and trainers by their names. StoreBusy where another run has the store, WinnowError where no
    cluster can be reached, and UsageError where it never has such nodes.
    """
    with locked(session.store.url, say):
        connect(session.profile, session.store.folder)
        refuse_without_nodes(steps, session.profile)
        yield
