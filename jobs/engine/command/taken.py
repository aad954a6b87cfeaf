"""Whether a folder to write to is taken: by another run, or by files of others."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from jobs.engine.execute.session import Session
from jobs.engine.samples.pool_folder import known_facts
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError

MANIFEST = "manifest.yaml"


def manifest_in(out: Folder) -> dict[str, Any]:
    """Returns the manifest in a folder, empty if there is none. UsageError if it cannot be read as a manifest."""
    try:
        found = yaml.safe_load(out.content(MANIFEST)) if out.exists(MANIFEST) else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{out}/{MANIFEST} cannot be read as a manifest: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{out}/{MANIFEST} is not the manifest of a run")
    return found


def refuse_taken(out: Folder, identity: Mapping[str, Any]) -> None:
    """UsageError if the folder holds another run or foreign files; it may be empty or hold this run.

    identity: the beginning of the run's manifest. If its pool is not known yet, the names of the inputs are compared.
    """
    found = manifest_in(out)
    if found.get("finished"):
        ours, theirs = _flat(identity), _flat(found)
        data = "pool.fingerprint" if "pool.fingerprint" in ours else "run.inputs"
        given = ("run.fields.", "run.reading.") if "reading" in identity["run"] else ("run.fields.",)
        compared = [key for key in {*ours, *theirs} if key == data or key.startswith(given)]
        differing = [
            f"{key.removeprefix('run.fields.')} {theirs.get(key)!r} there, {ours.get(key)!r} now"
            for key in sorted([*compared, "run.recipe"])
            if ours.get(key) != theirs.get(key)
        ]
        if differing:
            raise UsageError(f"{out} holds another run ({'; '.join(differing[:5])}); give another --out")
    elif not found and out.names():
        raise UsageError(f"{out} is not empty and holds no run of Winnow; give another --out")


def refuse_other_run(out: Folder, recipe: str, inputs: Sequence[str], fields: Any, session: Session) -> None:
    """As `refuse_taken`, by what is known about a run before its inputs are ingested."""
    if out.exists():
        facts = known_facts(inputs, session.store, session.reading)
        pool = {"pool": {"fingerprint": facts["fingerprint"]}} if facts else {}
        run = {"recipe": recipe, "inputs": list(inputs), "fields": fields}
        refuse_taken(out, {"run": run, **pool})


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat
