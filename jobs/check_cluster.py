"""Manifests for KubeRay, checked without a cluster: typos, the operator's rules, and versions.

    winnow check-cluster cluster
    winnow check-cluster cluster/overlays/gpu my-job.yaml --schemas kuberay/ray-operator/config/crd/bases

A folder with a kustomization is rendered first. The operator would refuse what is found here only after the manifest
was applied, or would start pods that wait.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jobs.engine.terminal.errors import WinnowError, together
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, program
from jobs.engine.terminal.screen import say


def arguments() -> Parser:
    parser = Parser(
        prog=program("check_cluster"),
        description="Check manifests for KubeRay without a cluster.",
    )
    parser.add_argument(
        "manifests", nargs="+", type=Path, metavar="MANIFEST", help="YAML files, folders of them, or kustomizations"
    )
    parser.add_argument(
        "--schemas",
        type=Path,
        metavar="FOLDER",
        help="the folder of KubeRay's CustomResourceDefinitions (default: Ray's fields only, not those of pods)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code, which is 1 if something is wrong in a manifest."""
    options = arguments().parse_args(argv)

    from jobs.engine.manifests.checking import findings, not_checked, ray_here
    from jobs.engine.manifests.kustomize import documents_at
    from jobs.engine.manifests.schema import SHIPPED, schemas_in

    schemas, *found = together(
        [partial(schemas_in, options.schemas or SHIPPED), *(partial(documents_at, each) for each in options.manifests)]
    )
    documents = [each for documents in found for each in documents]
    ray, wrong = ray_here(), 0
    for document in documents:
        named = f"{document.source}: {document.kind} {document.name}".rstrip()
        for finding in findings(document, schemas, ray):
            wrong += 1
            say(f"{named}: {finding.path}: {finding.said}")
    for note in not_checked(documents, schemas):
        say(f"note: {note}")
    if wrong:
        raise WinnowError(f"{wrong} thing(s) wrong in {len(documents)} document(s): see above")
    say(f"{len(documents)} document(s) for Ray {ray}: nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
