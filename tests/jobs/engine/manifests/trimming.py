"""KubeRay's definitions without descriptions, pods and the status: what jobs/engine/manifests/schemas holds.

python -m tests.jobs.engine.manifests.trimming FOLDER    writes them anew from the definitions in the folder
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from jobs.engine.manifests.schema import LOADER, SHIPPED

HEADER = """\
# From KubeRay (https://github.com/ray-project/kuberay), Copyright the KubeRay authors, Apache-2.0.
# Changed: without descriptions, and with any field allowed in pods, services, volumes and the status. Made by
# tests/jobs/engine/manifests/trimming.py.
"""
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
OPENED = (
    *("template", "submitterPodTemplate", "networkPolicy", "headService"),
    *("securityContext", "historyServerOptions", "status"),
)
LISTS_OPENED = ("env", "envFrom", "volumeMounts")
DROPPED = ("description", "x-kubernetes-validations", "x-kubernetes-map-type", "x-kubernetes-list-type")


def trimmed(definition: Any) -> dict[str, Any]:
    """The definition of a custom resource with what Winnow checks without the whole one, of version v1 only."""
    spec = definition["spec"]
    (version,) = (each for each in spec["versions"] if each["name"] == "v1")
    return {
        "apiVersion": definition["apiVersion"],
        "kind": definition["kind"],
        "metadata": {"name": definition["metadata"]["name"]},
        "spec": {
            "group": spec["group"],
            "names": {"kind": spec["names"]["kind"], "plural": spec["names"]["plural"]},
            "scope": spec["scope"],
            "versions": [{"name": "v1", "served": True, "schema": {"openAPIV3Schema": _schema(version["schema"])}}],
        },
    }


def _schema(version: Any) -> Any:
    return _trimmed(version["openAPIV3Schema"])


def _trimmed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept = {name: _trimmed(value) for name, value in schema.items() if name not in DROPPED and name != "properties"}
    if "properties" in schema:
        kept["properties"] = {name: _field(name, each) for name, each in schema["properties"].items()}
    return kept


def _field(name: str, schema: Any) -> Any:
    if name in OPENED:
        return dict(ANYTHING)
    if name in LISTS_OPENED and schema.get("type") == "array":
        return {"type": "array", "items": dict(ANYTHING)}
    return _trimmed(schema)


class _Dumper(yaml.SafeDumper):
    """Writes every value whole, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def written(definition: Any) -> str:
    """The text of a definition, trimmed."""
    return HEADER + yaml.dump(trimmed(definition), Dumper=_Dumper, sort_keys=True, width=120)


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[1]).glob("*.yaml")):
        (SHIPPED / file.name).write_text(written(yaml.load(file.read_text(), Loader=LOADER)))
