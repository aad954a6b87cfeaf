"""The checks of a command that trains or asks models, before Ray starts."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from jobs.engine.command.places import look_at, out_folder, store_at
from jobs.engine.execute.profile import Profile, profile
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import together

T = TypeVar("T")


def all_checked(
    options: argparse.Namespace, inputs: Sequence[str], declaration: Callable[[], T], others: Sequence[str] = ()
) -> tuple[T, Profile, Store, Folder]:
    """Returns what a command does, its profile, its store and its output folder, or raises all that is wrong at once.

    options: with those of --profile, --store and --out. declaration: returns what the command does, checked. others:
    what it reads beside its inputs.
    """
    how, store, wanted, _, _, out = together(
        [
            partial(profile, options.profile),
            partial(store_at, options.store),
            declaration,
            partial(look_at, inputs),
            partial(look_at, others),
            partial(out_folder, options.out, options.store, inputs),
        ]
    )
    return wanted, how, store, out
