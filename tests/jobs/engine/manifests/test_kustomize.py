"""Kustomizations rendered as kustomize does, or refused."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from jobs.engine.manifests.documents import Document
from jobs.engine.manifests.kustomize import documents_at
from jobs.engine.terminal.errors import UsageError
from tests.jobs.engine.manifests.faults import KIT


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


def by_kustomize(folder: Path) -> dict[tuple[str, str], dict]:
    """The objects that kustomize itself makes of a folder, by kind and name."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True, timeout=60)
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}


@pytest.mark.parametrize("folder", ["base", "overlays/kind", "overlays/gpu"])
def test_the_kit_is_rendered_as_by_kustomize_itself(folder):
    ours = {(each.kind, each.name): each.content for each in documents_at(KIT / folder)}
    assert ours == by_kustomize(KIT / folder)


def test_every_field_that_is_known_is_rendered_as_by_kustomize_itself(tmp_path):
    pod = "{template: {spec: {containers: [{name: a, image: 'far/w:1'}, {name: b, image: 'w:1'}]}}}"
    one = "kind: RayJob, apiVersion: ray.io/v1, metadata: {name: one}"
    merge = f"{{{one}, spec: {{list: [3], map: {{a: null, c: 4}}, deep: {pod}}}}}"
    documents = rendered(
        tmp_path,
        "namespace: far\nimages:\n- {name: far/w, newName: near/w, newTag: v2}\n- {name: w, digest: 'sha256:12'}\n"
        f"patches:\n- patch: |-\n    {merge}\n"
        "- patch: |-\n    - {op: replace, path: /spec/list/0, value: x}\n"
        "    - {op: add, path: /spec/map/a~1b, value: [1]}\n"
        "  target: {group: ray.io, kind: RayJob}\n",
    )
    ours = {(each.kind, each.name): each.content for each in documents}
    assert ours == by_kustomize(tmp_path / "over")
    assert "near/w:v2" in str(ours)
    assert "w@sha256:12" in str(ours)


def test_patches_are_applied_as_kustomize_does(tmp_path):
    merge = "apiVersion: ray.io/v1, kind: RayJob, metadata: {name: one}, spec: {list: [3], map: {a: null, c: 4}}"
    operations = ("add, path: /spec/list/-, value: 5", "test, path: /spec/map/b, value: 2", "remove, path: /spec/map/c")
    lines = "".join(f"    - {{op: {each}}}\n" for each in operations)
    job, namespace = rendered(
        tmp_path,
        f"namespace: far\npatches:\n- patch: '{{{merge}}}'\n"
        f"- patch: |-\n{lines}  target: {{kind: RayJob, name: o.*}}\n",
    )
    assert job.content["spec"] == {"list": [3, 5], "map": {"b": 2}}
    assert job.content["metadata"]["namespace"] == "far"
    assert namespace.content["metadata"] == {"name": "far"}


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("{op: replace, path: /spec/lst/0, value: 1}", "there is no such path"),
        ("{op: remove, path: /spec/list/7}", "there is no such path"),
        ("{op: test, path: /spec/map/a, value: 2}", "not an operation that holds here"),
        ("{op: move, path: /spec/map/a}", "not an operation that holds here"),
        ("{op: remove, path: /metadata/name}", "an object needs an apiVersion, a kind and a metadata.name"),
        ("[{op: remove, path: /spec/map/a}]", "takes a patch that begins with . for JSON"),
    ],
)
def test_an_operation_that_does_not_fit_is_refused(tmp_path, operation, said):
    patch = operation if operation.startswith("[") else f"- {operation}"
    with pytest.raises(UsageError, match=said):
        rendered(tmp_path, f"patches:\n- patch: '{patch}'\n  target: {{kind: RayJob}}\n")


def test_a_target_that_is_no_regular_expression_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"the target kind RayJob name \[ is no regular expression"):
        rendered(tmp_path, "patches:\n- patch: '- {op: remove, path: /spec}'\n  target: {kind: RayJob, name: '['}\n")
