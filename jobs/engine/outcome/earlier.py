"""Whether a folder holds this very run already."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.engine.command.places import manifest_in
from jobs.engine.execute.session import Session
from jobs.engine.outcome.manifest import versions
from jobs.engine.record.entries import changes
from jobs.engine.samples.folder import inputs_key
from jobs.engine.terminal.screen import say

FILES = ("selected.jsonl", "selection.parquet", "quarantine.jsonl", "report.html", "README.md")


def finished(run: Mapping[str, Any], out: Path, session: Session) -> Mapping[str, Any] | None:
    """The manifest in `out` where it is of this very run and the run has ended; None otherwise. Starts nothing.

    It is this run where it was asked for in the same words, and all that its record says it was made from is the same
    now: inputs and target files, models, prompts, and the versions of operators and trainers.
    """
    manifest = manifest_in(out)
    if not manifest.get("finished") or not all((out / file).exists() for file in FILES):
        return None
    if manifest["run"] != run or manifest["versions"].get("winnow") != versions().get("winnow"):
        return None
    changed = changes(manifest["verbs"], lambda inputs: inputs_key(inputs, session.store, session.reading))
    if not changed:
        return manifest
    if ", ".join(run["inputs"]) not in changed:  # of other inputs `claim` will say that `out` holds another run
        say(f"{out} holds this run as it was before {', '.join(changed)} changed: running again")
    return None
