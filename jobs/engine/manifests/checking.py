"""Everything that is checked of manifests, and what was not."""

import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from jobs.engine.manifests.cluster_rules import raycluster_findings
from jobs.engine.manifests.documents import Document, Finding, mapping
from jobs.engine.manifests.job_rules import job_findings
from jobs.engine.manifests.pods import pod_findings
from jobs.engine.manifests.schema import Schema
from jobs.engine.terminal.modules import nearest

RULES: Mapping[str, Callable[[Document], Iterator[Finding]]] = {
    "RayJob": job_findings,
    "RayCluster": raycluster_findings,
}
CLUSTERS = {"RayJob": "spec.rayClusterSpec", "RayCluster": "spec"}
"""Where an object of each kind has the spec of a cluster."""
CONSTRAINTS = Path(__file__).resolve().parents[3] / "constraints.txt"


def findings(document: Document, schemas: Mapping[str, Schema], ray: str) -> list[Finding]:
    """What is wrong with a document: its fields, the operator's rules, and its pods. ray: the version they should have.

    A document of a kind without a schema, such as a claim for a volume, is not checked.
    """
    found: list[Finding] = []
    if document.kind in schemas:
        found += schemas[document.kind].findings(document)
    elif near := nearest(document.kind, RULES, alike=0.8):
        found.append(Finding("kind", f"there is no {document.kind}{near}"))
    if document.kind in RULES:
        found += RULES[document.kind](document)
        spec, where = document.content, CLUSTERS[document.kind]
        for name in where.split("."):
            spec = mapping(spec.get(name))
        if spec:
            found += pod_findings(spec, where, ray)
    return list(dict.fromkeys(found))


def not_checked(documents: Sequence[Document], schemas: Mapping[str, Schema]) -> Iterator[str]:
    """What the checks leave out, a sentence each."""
    kinds = {each.kind for each in documents}
    for kind in sorted(kinds - schemas.keys()):
        yield f"{kind}: not checked, as there is no schema for it"
    if any(not schemas[kind].whole for kind in kinds & schemas.keys()):
        yield "the fields of pods (template): not checked; --schemas FOLDER with KubeRay's own definitions does that"


def ray_here(constraints: Path = CONSTRAINTS) -> str:
    """The version of Ray that constraints.txt has, or that is installed where there is no such file."""
    if constraints.exists():
        found = re.search(r"^ray==(\S+)", constraints.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return importlib.metadata.version("ray")
