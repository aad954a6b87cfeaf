"""Kustomizations rendered as kustomize does, or refused."""

from pathlib import Path

import pytest

from jobs.engine.manifests.documents import Document
from jobs.engine.manifests.kustomize import documents_at
from jobs.engine.terminal.errors import UsageError


def rendered(tmp_path: Path, text: str) -> list[Document]:
    """What a kustomization over a small base makes."""
    base = tmp_path / "base"
    base.mkdir(exist_ok=True)
    (base / "kustomization.yaml").write_text("resources: [one.yaml]\n")
    (base / "one.yaml").write_text(
        "apiVersion: ray.io/v1\nkind: RayJob\nmetadata: {name: one}\nspec: {list: [1, 2], map: {a: 1, b: 2}}\n"
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n"
    )
    (tmp_path / "over").mkdir(exist_ok=True)
    (tmp_path / "over" / "kustomization.yaml").write_text(f"resources: [../base]\n{text}")
    return documents_at(tmp_path / "over")


def test_patches_are_applied_as_kustomize_does(tmp_path):
    merge = "apiVersion: ray.io/v1, kind: RayJob, metadata: {name: one}, spec: {list: [3], map: {a: null, c: 4}}"
    adds = "{op: add, path: /spec/list/-, value: 5}, {op: test, path: /spec/map/b, value: 2}"
    target = "target: {kind: RayJob, name: o.*}"
    job, namespace = rendered(
        tmp_path,
        f"namespace: far\npatches:\n- patch: '{{{merge}}}'\n"
        f"- patch: '[{adds}, {{op: remove, path: /spec/map/c}}]'\n  {target}\n",
    )
    assert job.content["spec"] == {"list": [3, 5], "map": {"b": 2}}
    assert job.content["metadata"]["namespace"] == "far"
    assert "namespace" not in namespace.content["metadata"]


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("{op: replace, path: /spec/lst/0, value: 1}", "there is no such path"),
        ("{op: remove, path: /spec/list/7}", "there is no such path"),
        ("{op: test, path: /spec/map/a, value: 2}", "not an operation that holds here"),
        ("{op: move, path: /spec/map/a}", "not an operation that holds here"),
    ],
)
def test_an_operation_that_does_not_fit_is_refused(tmp_path, operation, said):
    with pytest.raises(UsageError, match=said):
        rendered(tmp_path, f"patches:\n- patch: '[{operation}]'\n  target: {{kind: RayJob}}\n")
