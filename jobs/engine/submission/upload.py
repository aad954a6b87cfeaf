"""How much Ray would upload of a folder, by Ray's own rules of what is left out."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ray._private import ray_constants
from ray._private.runtime_env import packaging

from jobs.engine.terminal.errors import UsageError

LIMIT = min(ray_constants.DASHBOARD_CLIENT_MAX_SIZE, packaging.GCS_STORAGE_MAX_SIZE)
"""Bytes that a dashboard takes in one request, or that the head node keeps; whichever is less."""
SHOWN = 5
MIB = 2**20


class Uploaded(NamedTuple):
    """A file that would be uploaded."""

    bytes: int
    file: str
    """Its path within the folder."""


def uploaded(folder: Path, excludes: Sequence[str] = ()) -> list[Uploaded]:
    """The files of a folder that Ray would upload, which .gitignore, .rayignore and `excludes` leave."""
    found: list[Uploaded] = []

    def seen(path: Path) -> None:
        if path.is_file():
            found.append(Uploaded(path.stat().st_size, str(path.relative_to(folder))))

    left_out = [*ray_constants.get_runtime_env_default_excludes(), *excludes]
    packaging._dir_travel(
        folder,
        [packaging._get_excludes(folder, left_out)],
        seen,
        include_gitignore=os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1",
        logger=logging.getLogger(__name__),
    )
    return found


def refuse_large(folder: Path | None, excludes: Sequence[str] = (), limit: int = LIMIT) -> None:
    """UsageError, with the largest files, where a folder is larger than Ray takes. None is sent with no folder."""
    if folder is None:
        return
    files = uploaded(folder, excludes)
    total = sum(each.bytes for each in files)
    if total < limit:
        return
    largest = sorted(files, key=lambda each: (-each.bytes, each.file))[:SHOWN]
    named = ", ".join(f"{each.file} ({each.bytes / MIB:,.1f} MiB)" for each in largest)
    raise UsageError(
        f"--working-dir {folder}: {total / MIB:,.1f} MiB would be uploaded, and Ray takes {limit / MIB:,.0f} MiB. The "
        f"largest files are {named}. Name what the job does not need in {folder / '.rayignore'}, as in a .gitignore"
    )
