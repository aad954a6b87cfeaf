"""What every command does before its first verb."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jobs.engine.execute.capacity import refuse_without_gpus
from jobs.engine.execute.session import Session, connect
from jobs.engine.store.lock import locked
from jobs.engine.terminal.screen import say


@contextmanager
def started(session: Session, steps: Mapping[str, object]) -> Iterator[None]:
    """Locks the store while the block runs, which has a connected cluster with the GPUs that the steps ask for.

    steps: the operators and trainers by their names. StoreBusy, WinnowError or UsageError where there is none of it.
    """
    with locked(session.store.url, say):
        connect(session.profile, session.store.folder)
        refuse_without_gpus(steps, session.profile)
        yield
