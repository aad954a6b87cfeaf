"""The record of a run: what each verb did, and with which inputs, models and prompts.

Every verb of a pool adds an entry to its session's log: `read`, `map`, `reduce`, `train`, `grow`, `decide`, `cover` or
`targets`. The entry of an operator or a trainer has its name, version, fingerprint and fields, and `made_of`: each
model and prompt in the fields, with the identity of its content. The manifest contains the entries. The card, the
report, `explain` and the comparison of two runs are derived from them, so there is no second list to maintain.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from jobs.engine.record.declarations import plain
from operators.asking.asking import Asking
from operators.asking.prompt import Prompt
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.gradients.directions import Directions
from operators.missing import ModelMissing
from operators.training.finetune import Finetune

Entry = dict[str, Any]

CONTENTS: dict[str, type[Checkpoint | Prompt | Directions]] = {
    "model": Checkpoint,
    "prompt": Prompt,
    "directions": Directions,
}
"""The classes of the models, prompts and directions in a declaration, by the key of their entries in `made_of`."""


def declaration(made: Operator | Finetune) -> Entry:
    """The part of an entry that identifies an operator or a trainer, in readable fields and in hashes."""
    return {
        "operator": type(made).__name__,
        "version": made.version,
        "fingerprint": made.fingerprint(),
        "fields": plain(made),
        "made_of": list(made_of(made)),
    }


def inputs_read(inputs: Sequence[str], key: str, folder: str, facts: Mapping[str, Any]) -> Entry:
    """The entry of inputs that were read, with the hash of each file.

    key: from `inputs_key` or pool.json. folder, facts: the pool, and the content of its pool.json.
    """
    kept = ("uri", "sha256", "sha256-blocks")
    return {
        "read": list(inputs),
        "key": key,
        "pool": folder,
        "fingerprint": facts["fingerprint"],
        "samples": facts["samples"],
        "sources": [{name: source[name] for name in kept if name in source} for source in facts["sources"]],
    }


def made_of(value: Any) -> Iterator[Entry]:
    """The models, prompts and directions in a declaration's fields, with the current identity of each."""
    for kind, cls in CONTENTS.items():
        if isinstance(value, cls):
            yield {kind: plain(value), "identity": value.identity()}
            return
    if not is_dataclass(value) or isinstance(value, type):
        return
    for each in fields(value):
        if isinstance(value, Asking) and value.endpoint and each.name == "model":
            # A server gives only the name of its model; there is no content to identify it by.
            yield {"served": plain(value.model), "identity": {}}
        else:
            yield from made_of(getattr(value, each.name))


def changes(entries: Iterable[Entry], key_now: Any) -> list[str]:
    """The names of the inputs, models, prompts and operators that have changed since the entries were written.

    key_now: a function from inputs to their current key. Empty where a repeated run would be the same. Models that the
    run trained itself are not compared, because they follow from what is compared here.
    """
    entries = list(entries)
    own = tuple(f"{entry['folder']}/" for entry in entries if "train" in entry or "targets" in entry)
    found = []
    for entry in entries:
        if "read" in entry and key_now(entry["read"]) != entry["key"]:
            found.append(", ".join(entry["read"]))
        for part in entry.get("made_of", ()):
            name = _named(part)
            if not f"{name}/".startswith(own) and _identity(part) != part["identity"]:
                found.append(name)
        if "operator" in entry and _version(entry) != entry["version"]:
            found.append(f"{entry['operator']}, version {entry['version']}")
    return list(dict.fromkeys(found))


def _identity(part: Mapping[str, Any]) -> Any:
    """The current identity of a model or a prompt; None where it is gone."""
    for kind, cls in CONTENTS.items():
        if kind in part:
            try:
                return cls(**part[kind]).identity()
            except (ModelMissing, ValueError, OSError):
                return None
    return part["identity"]


def _named(part: Mapping[str, Any]) -> str:
    kind = next(key for key in part if key != "identity")
    return part[kind].get("name") or part[kind].get("file")


def _version(entry: Entry) -> int | None:
    """The current version of an entry's operator or trainer; None where no class of that name is imported.

    A recipe imports the operators that it uses, and a record is compared only after its recipe has been imported.
    """
    known = {each.__name__: each.version for each in (Finetune, *_below(Operator))}
    return known.get(entry["operator"])


def _below(cls: type[Operator]) -> Iterator[type[Operator]]:
    for each in cls.__subclasses__():
        yield each
        yield from _below(each)


def columns(entries: Iterable[Entry], pool: str) -> dict[str, Entry]:
    """The last map entry of each column of the pool in this folder, by column name, in the order of the first maps."""
    return {entry["map"]: entry for entry in entries if "map" in entry and entry["pool"] == pool}


class Use(NamedTuple):
    """A use of an operator or a trainer in a run, in words."""

    subject: str
    operator: str
    fingerprint: str
    models: str


def uses(entries: Iterable[Entry]) -> list[Use]:
    """The operators and trainers in the entries, each once per column or training that it was used for."""
    found: dict[tuple[str, str], Use] = {}
    for entry in entries:
        if "operator" in entry:
            models = "; ".join(_models(entry)) or "none"
            use = Use(_subject(entry), entry["operator"], entry["fingerprint"][:16], models)
            found[use.subject, use.fingerprint] = use
    return list(found.values())


def _subject(entry: Entry) -> str:
    if "train" in entry:
        return f"training, {entry['epochs']} epochs on {entry['samples']:,} samples"
    return f"column {entry['map']}" if "map" in entry else f"directions of {len(entry['targets']):,} subtasks"


def _models(entry: Entry) -> Iterator[str]:
    """The models of an entry, each with its content hash or revision."""
    for part in entry["made_of"]:
        identity = part["identity"]
        if "model" in part:
            revision = identity.get("revision") or "not pinned"
            exact = f"content {identity['content'][:16]}" if "content" in identity else f"revision {revision}"
            yield f"{part['model']['name']} ({exact})"
        elif "served" in part:
            yield f"{part['served']['name']} (on a server)"


def besides(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """The path and the hash of each file that was read besides the run's inputs, such as target files."""
    others = [entry for entry in entries if "read" in entry][1:]
    return [(source["uri"], hash_of(source)) for entry in others for source in entry["sources"]]


def hash_of(source: Mapping[str, Any]) -> str:
    """The SHA-256 of an input file, or of the digests of its blocks where the file was read in blocks."""
    if "sha256" in source:
        return source["sha256"]
    blocks = source.get("sha256-blocks")
    return f"{blocks['sha256']} (of the digests of {blocks['block_bytes']:,}-byte blocks)" if blocks else "not known"
