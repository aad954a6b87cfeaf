"""Whether an output folder has the results of the same run already."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from jobs.engine.command.taken import manifest_in
from jobs.engine.execute.session import Session
from jobs.engine.outcome.ledger import FILE, ledger_in
from jobs.engine.outcome.manifest import versions
from jobs.engine.record.entries import changes
from jobs.engine.samples.pool_folder import inputs_key
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.screen import say

FILES = ("selected.jsonl", FILE, "quarantine.jsonl", "report.html", "README.md")


def finished(run: Mapping[str, Any], out: Folder, session: Session) -> Mapping[str, Any] | None:
    """The manifest in `out` where the same run has finished there; None otherwise. Does not start Ray.

    A run is the same where it was requested in the same words and everything in its record is unchanged: the inputs
    and target files, the models, the prompts, and the versions of Winnow, of operators and of trainers.
    """
    manifest = manifest_in(out)
    if not manifest.get("finished") or not _whole(manifest, out):
        return None
    if manifest["run"] != run or manifest["versions"].get("winnow") != versions().get("winnow"):
        return None

    def key_now(inputs: Sequence[str]) -> str:
        candidates = list(inputs) == list(run["inputs"])
        return inputs_key(inputs, session.store, session.reading if candidates else session.reading.whole())

    changed = changes(manifest["verbs"], key_now)
    if not changed:
        return manifest
    if ", ".join(run["inputs"]) not in changed:  # where the inputs changed, `claim` refuses `out` with its own message
        say(f"{out} has the results of this run from before {', '.join(changed)} changed: running again")
    return None


def _whole(manifest: Mapping[str, Any], out: Folder) -> bool:
    """Whether the files of a run are there, the ledger with all its rows."""
    if not all(out.exists(file) for file in FILES):
        return False
    try:
        return ledger_in(out).count_rows() == manifest["counts"]["records"]
    except (OSError, pa.ArrowInvalid):
        return False
