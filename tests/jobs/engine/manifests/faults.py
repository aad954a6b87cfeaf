"""The manifests of the kit as plain values, as they are and with a fault."""

import copy
import re
from pathlib import Path

from jobs.engine.manifests.documents import Document
from jobs.engine.manifests.kustomize import documents_at

ROOT = Path(__file__).resolve().parents[4]
KIT = ROOT / "cluster"
WHOLE = ROOT.parent / "shared" / "kuberay"
"""KubeRay's own definitions, where they are at hand."""


def content(name: str) -> dict:
    """A manifest of the kit as plain values that a test may change."""
    (document,) = documents_at(KIT / name)
    return copy.deepcopy(dict(document.content))


def changed(name: str, changes: dict) -> Document:
    """A manifest of the kit with values at dotted paths replaced; None removes what is there."""
    made = content(name)
    for path, value in changes.items():
        parts = re.findall(r"\([^)]*\)|[^.]+", path)  # a name with a dot in it is in parentheses
        *outer, last = [int(part) if part.isdecimal() else part.strip("()") for part in parts]
        place = made
        for part in outer:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return Document("made.yaml", made)
