"""`winnow check-cluster` and the manifests of the kit; each rule by a manifest that breaks it."""

import re
import subprocess

import pytest
import yaml

from jobs import check_cluster
from jobs.engine.manifests.checking import ray_here
from jobs.engine.manifests.kustomize import documents_at
from jobs.engine.terminal.program import exit_code
from tests.docs import blocks, marked
from tests.jobs.engine.manifests.faults import KIT, ROOT, WHOLE, changed, content

NEEDS_WHOLE = pytest.mark.skipif(not WHOLE.is_dir(), reason="KubeRay's own definitions are not here")


@pytest.fixture
def checked(capsys, monkeypatch):
    """Runs the command: (exit code, what it printed)."""
    monkeypatch.chdir(ROOT)

    def ran(*words):
        return exit_code(lambda: check_cluster.main([str(word) for word in words])), capsys.readouterr().out

    return ran


def test_documented_manifests_are_in_order(checked):
    (block,) = blocks("run by test_documented_manifests_are_in_order")
    for line in block:
        program, command, *words = line.split()
        assert (program, command) == ("winnow", "check-cluster")
        code, said = checked(*words)
        assert code == 0, said
        assert "nothing wrong" in said
        assert "PersistentVolumeClaim: not checked" in said
        assert "the fields of pods (template): not checked" in said


@NEEDS_WHOLE
def test_the_kit_fits_kuberays_own_definitions(checked):
    code, said = checked("cluster", "cluster/overlays/kind", "cluster/overlays/gpu", "--schemas", WHOLE)
    assert code == 0, said
    assert "fields of pods" not in said


def test_job_and_cluster_have_the_same_nodes_and_every_file_one_version_of_ray():
    assert content("rayjob.yaml")["spec"]["rayClusterSpec"] == content("raycluster.yaml")["spec"]
    assert f"ray=={ray_here()}\n" in (ROOT / "constraints.txt").read_text()
    for file in [KIT / "Dockerfile", ROOT / "docs" / "clusters.md", *KIT.rglob("*.yaml")]:
        assert set(re.findall(r"-ray(\d+\.\d+\.\d+)", file.read_text())) <= {ray_here()}, file


def test_the_job_is_as_the_kit_promises():
    spec = content("rayjob.yaml")["spec"]
    assert (spec["submissionMode"], spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == ("SidecarMode", 2, True)
    assert min(spec["activeDeadlineSeconds"], spec["preRunningDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) > 0
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert {group["groupName"]: group["minReplicas"] for group in cluster["workerGroupSpecs"]} == {"cpu": 0, "gpu": 0}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (ray,) = group["template"]["spec"]["containers"]
        assert {"/dev/shm", "/tmp/ray", "/shared", "/models"} == {each["mountPath"] for each in ray["volumeMounts"]}
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"]
    # the operator mounts a volume of this name into the autoscaler, whose events Ray's head reads
    (ray,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert {"name": "ray-logs", "mountPath": "/tmp/ray"} in ray["volumeMounts"]


def test_the_overlays_change_what_they_say():
    (kind,) = documents_at(KIT / "overlays" / "kind")
    spec = kind.content["spec"]["rayClusterSpec"]
    assert [group["groupName"] for group in spec["workerGroupSpecs"]] == ["cpu"]
    gpu = {document.kind: document for document in documents_at(KIT / "overlays" / "gpu")}
    (_, group) = gpu["RayJob"].content["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (ray,) = group["template"]["spec"]["containers"]
    assert ray["image"] == f"registry.example.com/winnow:0.1.0-ray{ray_here()}-py311-gpu"
    assert ray["resources"]["limits"]["nvidia.com/gpu"] == "8"


def test_the_command_names_file_object_and_field_and_exits_with_1(checked, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(changed("rayjob.yaml", {"spec.entrypont": "x"}).content))
    code, said = checked(file)
    assert code == 1
    assert f"{file}: RayJob winnow: spec.entrypont: there is no such field; did you mean 'entrypoint'?" in said
    assert said.splitlines()[-1] == "error: 1 thing(s) wrong in 1 document(s): see above"


BAD_FILES = {
    "twice.yaml": ("kind: RayJob\nkind: RayJob\n", "the field 'kind' is written twice"),
    "broken.yaml": ("kind: [", "is not YAML"),
    "other.yaml": ("a: 1\n", "document 1 is not an object of Kubernetes: it has no kind"),
    "empty.yaml": ("", "holds no document"),
    "folder/kustomization.yaml": ("commonLabels: {a: b}\n", "commonLabels: this field of kustomize is not understood"),
    "up/kustomization.yaml": ("resources: [../one.yaml]\n", "resources: ../one.yaml is outside of this folder"),
    "helm.yaml": ("kind: RayJob\nmetadata: {name: {{ .Values.name }}}\n", "is not YAML: while constructing a mapping"),
    "two/kustomization.yaml": ("resources: []\n---\nresources: []\n", "a kustomization is one mapping"),
    "list/kustomization.yaml": ("- a.yaml\n", "a kustomization is one mapping"),
    "path/kustomization.yaml": ("patches: [{path: [a]}]\n", "['a']: No such file"),
    "number/kustomization.yaml": (
        "patches: [{patch: '5', target: {}}]\n",
        "a patch is a mapping or a list of operations",
    ),
    "unnamed/kustomization.yaml": ("resources: [kustomization.yaml]\nkind: K\n", "needs an apiVersion, a kind and a"),
    "patch/kustomization.yaml": ("patches: [{patch: 'kind: RayJob'}]\n", "no object is kind RayJob"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read_or_rendered_is_one_line(checked, tmp_path, name):
    text, said = BAD_FILES[name]
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    code, found = checked(file.parent if "/" in name else file)
    assert (code, found.count("\n")) == (2, 1)
    assert said in found


def test_places_that_are_not_there_are_one_line_each(checked, tmp_path):
    code, said = checked(tmp_path / "none.yaml", tmp_path, "--schemas", tmp_path)
    assert code == 2
    assert "no file there holds a CustomResourceDefinition" in said
    assert "none.yaml: No such file" in said
    assert f"{tmp_path}: the folder holds no manifest" in said


def test_every_block_of_commands_says_how_it_is_tested():
    tests = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    shells = [(said, commands) for said, language, commands in marked() if language == "bash"]
    assert len(shells) >= 7
    for said, commands in shells:
        assert said, commands
        assert said.startswith(("run by test_", "not run here: ")) or "is run by test_" in said, said
        for name in re.findall(r"test_\w+", said):
            assert any(path.stem == name or f"def {name}(" in text for path, text in tests.items()), name
    assert not [language for _, language, _ in marked() if language not in ("bash", "yaml")]


def test_the_dockerfile_makes_both_images_as_promised():
    text = (KIT / "Dockerfile").read_text()
    assert "pip install '.[gpu]' -c constraints.txt" in text
    assert re.search(r"^USER 1000:1000$", text, re.MULTILINE)
    copied = re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert f"!{name}\n" in (KIT / "Dockerfile.dockerignore").read_text()
    steps = re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert len(steps) == 2
    for step in steps:  # that a shell can read them; no image is built here
        subprocess.run(["bash", "-n", "-c", step], check=True)
