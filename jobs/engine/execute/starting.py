"""What a command does before its first verb: it locks the store, connects to Ray, and looks for GPUs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jobs.engine.execute.capacity import refuse_without_gpus
from jobs.engine.execute.session import Session, connect
from jobs.engine.store.lock import locked
from jobs.engine.terminal.screen import say


@contextmanager
def started(session: Session, steps: Mapping[str, object]) -> Iterator[None]:
    """Holds the lock of the store while the block runs, on a connected cluster with the GPUs that the steps ask for.

    steps: the operators and trainers by their names. StoreBusy where another run has the store, WinnowError where no
    cluster can be reached, and UsageError where it lacks the GPUs.
    """
    with locked(session.store.url, say):
        connect(session.profile, session.store.folder)
        refuse_without_gpus(steps, session.profile)
        yield
