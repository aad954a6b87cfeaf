"""What the commands that train or ask models have in common before they start Ray."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from jobs.engine.command.places import look_at, out_folder, store_at
from jobs.engine.command.taken import refuse_other_run
from jobs.engine.execute.profile import profile
from jobs.engine.execute.session import Session
from jobs.engine.ingest import settings_of
from jobs.engine.record.declarations import plain
from jobs.engine.samples.pool_folder import refuse_reading_again
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.arguments import reading_given
from jobs.engine.terminal.errors import together
from jobs.engine.terminal.program import as_typed

T = TypeVar("T")


def prepared(
    command: str,
    options: argparse.Namespace,
    argv: Sequence[str] | None,
    inputs: Sequence[str],
    declaration: Callable[[], T],
    *,
    besides: Mapping[str, str] | None = None,
    unanswered: Callable[[T], bool] = lambda wanted: False,
) -> tuple[T, Folder, Session]:
    """Returns what a command does, its output folder and its session, or raises all that is wrong at once.

    options: with those of --store, --profile, --out and of reading. argv: the words that the command was called with.
    declaration: returns what the command does, checked. besides: the files that it reads beside its inputs, by the
    names that the manifest has for them. unanswered: whether records without an answer are samples.
    """
    files = dict(besides or {})
    how, store, wanted, _, _, out = together(
        [
            partial(profile, options.profile),
            partial(store_at, options.store),
            declaration,
            partial(look_at, inputs),
            partial(look_at, list(files.values())),
            partial(out_folder, options.out, options.store, inputs),
        ]
    )
    session = Session(
        store,
        how,
        max_errors=getattr(wanted, "max_errors", Session.max_errors),
        max_unreadable=options.max_unreadable,
        reading=settings_of({"answers": "optional" if unanswered(wanted) else "needed", **reading_given(options)}),
        retry_errors=getattr(options, "retry_errors", False),
        command=as_typed(command, argv),
    )
    refuse_reading_again(inputs, session.reading)
    refuse_other_run(out, command, inputs, {**plain(wanted), **files}, session)
    return wanted, out, session
