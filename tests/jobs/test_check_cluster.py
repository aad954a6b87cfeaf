"""`winnow check-cluster` and the manifests of the kit; each rule by a manifest that breaks it."""

import copy
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from jobs import check_cluster
from jobs.engine.manifests.checking import findings, ray_here
from jobs.engine.manifests.documents import Document
from jobs.engine.manifests.kustomize import documents_at
from jobs.engine.manifests.schema import LOADER, SHIPPED, schemas_in
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.program import exit_code
from tests.docs import blocks, marked
from tests.jobs.engine.manifests.trimming import written

ROOT = Path(__file__).resolve().parents[2]
KIT = ROOT / "cluster"
WHOLE = ROOT.parent / "shared" / "kuberay"
NEEDS_WHOLE = pytest.mark.skipif(not WHOLE.is_dir(), reason="KubeRay's own definitions are not here")


@pytest.fixture
def checked(capsys, monkeypatch):
    """Runs the command: (exit code, what it printed)."""
    monkeypatch.chdir(ROOT)

    def ran(*words):
        return exit_code(lambda: check_cluster.main([str(word) for word in words])), capsys.readouterr().out

    return ran


@pytest.fixture(scope="module")
def shipped():
    return schemas_in(SHIPPED)


@pytest.fixture(scope="module")
def whole():
    return schemas_in(WHOLE)


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


@NEEDS_WHOLE
def test_the_shipped_definitions_are_kuberays_trimmed():
    for file in sorted(WHOLE.glob("*.yaml")):
        assert (SHIPPED / file.name).read_text() == written(yaml.load(file.read_text(), Loader=LOADER))


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


def test_the_overlays_change_what_they_say():
    (kind,) = documents_at(KIT / "overlays" / "kind")
    spec = kind.content["spec"]["rayClusterSpec"]
    assert [group["groupName"] for group in spec["workerGroupSpecs"]] == ["cpu"]
    gpu = {document.kind: document for document in documents_at(KIT / "overlays" / "gpu")}
    (_, group) = gpu["RayJob"].content["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (ray,) = group["template"]["spec"]["containers"]
    assert ray["image"] == f"registry.example.com/winnow:0.1.0-ray{ray_here()}-py311-gpu"
    assert ray["resources"]["limits"]["nvidia.com/gpu"] == "8"


C = "spec.rayClusterSpec"
HEAD = f"{C}.headGroupSpec"
POD = f"{HEAD}.template.spec"
WORKER = f"{C}.workerGroupSpecs.0"
SHOWN = f"{C}.workerGroupSpecs[0]"
AUTO = f"{C}.enableInTreeAutoscaling"
ENV = f"{POD}.containers.0.env"
DELETION = "spec.deletionStrategy"
NEVER_SHUT = {"spec.shutdownAfterJobFinishes": False, "spec.ttlSecondsAfterFinished": 0}


def rule(policy, seconds, status="FAILED"):
    return {"policy": policy, "condition": {"jobStatus": status, "ttlSeconds": seconds}}


JOBS = [
    # typos and wrong values, by the schema
    ({f"{WORKER}.minReplica": 1}, f"{SHOWN}.minReplica: there is no such field; did you mean 'minReplicas'?"),
    ({"spec.backofLimit": 2}, "spec.backofLimit: there is no such field; did you mean 'backoffLimit'?"),
    ({"metadata.lables": {}}, "metadata.lables: there is no such field; did you mean 'labels'?"),
    ({"spec.backoffLimit": "2"}, "spec.backoffLimit: '2' is not of the type integer"),
    ({f"{C}.autoscalerOptions.version": "v3"}, "autoscalerOptions.version: 'v3' is not one of v1, v2"),
    ({f"{WORKER}.groupName": None}, f"{SHOWN}.groupName: the field is missing"),
    ({"apiVersion": "ray.io/v2"}, "apiVersion: ray.io/v2 is not one of ray.io/v1"),
    # the operator's rules for jobs
    ({"metadata.name": "w" * 48}, "metadata.name: 'wwww"),
    ({"metadata.name": "2fast"}, "metadata.name: '2fast' is not made of a-z, 0-9 and -, beginning with a letter"),
    ({"spec.shutdownAfterJobFinishes": False}, "ttlSecondsAfterFinished: it needs shutdownAfterJobFinishes: true"),
    ({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished: -1 is below 0"),
    ({"spec.activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds: 0 is not above 0"),
    ({"spec.preRunningDeadlineSeconds": -5}, "spec.preRunningDeadlineSeconds: -5 is not above 0"),
    ({"spec.backoffLimit": -1}, "spec.backoffLimit: -1 is below 0"),
    ({**NEVER_SHUT, "spec.suspend": True}, "spec.suspend: a job can be suspended only with"),
    ({C: None}, "spec.rayClusterSpec: it is missing; give it, or a clusterSelector"),
    ({"spec.clusterSelector": {"x": "y"}}, "spec.clusterSelector: it has no ray.io/cluster"),
    ({"spec.clusterSelector": {"ray.io/cluster": "c"}, "spec.suspend": True}, "on a selected cluster cannot be"),
    ({"spec.clusterSelector": {"ray.io/cluster": "c"}}, "spec.clusterSelector: SidecarMode needs a cluster of its own"),
    ({"spec.clusterSelector": {"ray.io/cluster": "c"}}, "spec.backoffLimit: a retry starts a new cluster"),
    ({"spec.submissionMode": "InteractiveMode"}, "spec.backoffLimit: InteractiveMode has no retries"),
    ({"spec.entrypoint": " "}, "spec.entrypoint: it is missing"),
    ({"spec.submitterPodTemplate": {"spec": {}}}, "spec.submitterPodTemplate: SidecarMode has no pod of its own"),
    ({"spec.submitterConfig": {"backoffLimit": 1}}, "spec.submitterConfig: SidecarMode has no pod of its own"),
    ({f"{POD}.restartPolicy": "Always"}, f"{POD}.restartPolicy: it is Always; with SidecarMode it must be Never"),
    ({f"{C}.authOptions.enableK8sTokenAuth": True}, "enableK8sTokenAuth: a RayJob cannot have it; use mode: token"),
    ({"spec.entrypointNumCpus": 1}, "spec.entrypointNumCpus: the head has no CPUs, so the command would wait forever"),
    ({"spec.runtimeEnvYAML": "a: [b"}, "spec.runtimeEnvYAML: it is not YAML"),
    ({"spec.runtimeEnvYAML": "a"}, "spec.runtimeEnvYAML: it is not a mapping"),
    ({"spec.runtimeEnvYAML": "env_vars: {OPENAI_API_KEY: x}"}, "OPENAI_API_KEY looks like a secret"),
    ({DELETION: {"deletionRules": [rule("DeleteCluster", 1)]}}, "deletionRules and shutdownAfterJobFinishes: true"),
    ({**NEVER_SHUT, DELETION: {"onSuccess": {"policy": "DeleteSelf"}}}, "it needs deletionRules, or both onSuccess"),
    ({DELETION: {"deletionRules": [rule("DeleteSelf", 1)], "onFailure": {"policy": "DeleteSelf"}}}, "use only del"),
    ({**NEVER_SHUT, DELETION: {"deletionRules": [rule("DeleteWorkers", 1)]}}, "DeleteWorkers does not go with"),
    ({**NEVER_SHUT, "spec.clusterSelector": {"ray.io/cluster": "c"}, DELETION: {
        "deletionRules": [rule("DeleteCluster", 1)]}}, "DeleteCluster does not go with clusterSelector"),
    ({**NEVER_SHUT, DELETION: {"deletionRules": [rule("DeleteSelf", -1)]}}, "condition.ttlSeconds: -1 is below 0"),
    ({**NEVER_SHUT, DELETION: {"deletionRules": [rule("DeleteSelf", 1)] * 2}}, "there is another rule for DeleteSelf"),
    ({**NEVER_SHUT, DELETION: {"deletionRules": [rule("DeleteSelf", 1), rule("DeleteCluster", 2)]}}, "do not rise"),
    # the operator's rules for clusters
    ({f"{POD}.containers": []}, f"{POD}.containers: there is no container"),
    ({f"{HEAD}.resources": {"CPU": "0"}}, f"{HEAD}.resources: resources and rayStartParams.num-cpus are both set"),
    ({f"{HEAD}.rayStartParams.labels": "a=b"}, f"{HEAD}.rayStartParams.labels: it is not supported here"),
    ({f"{WORKER}.labels": {"-x": "y"}}, f"{SHOWN}.labels: '-x' is not the name of a label"),
    ({f"{WORKER}.labels": {"x": "y z"}}, f"{SHOWN}.labels.x: 'y z' is not the value of a label"),
    ({f"{HEAD}.rayStartParams.num-cpus": 0}, f"{HEAD}.rayStartParams.num-cpus: 0 is not text"),
    ({f"{WORKER}.groupName": "gpu"}, f"{C}.workerGroupSpecs[1].groupName: another group has the name 'gpu'"),
    ({f"{WORKER}.minReplicas": 17}, f"{SHOWN}.minReplicas: 17 is above maxReplicas, which is 16"),
    ({f"{WORKER}.minReplicas": -1}, f"{SHOWN}.minReplicas: minReplicas -1 and maxReplicas 16: neither may be below 0"),
    ({f"{WORKER}.replicas": 20}, f"{SHOWN}.replicas: 20 is not between minReplicas 0 and maxReplicas 16"),
    ({AUTO: False}, f"{C}.autoscalerOptions: it has no effect without enableInTreeAutoscaling: true"),
    ({AUTO: False, ENV: [{"name": "RAY_enable_autoscaler_v2", "value": "1"}]}, "needs enableInTreeAutoscaling: true"),
    ({ENV: [{"name": "RAY_enable_autoscaler_v2", "value": "1"}]}, "RAY_enable_autoscaler_v2 are both set"),
    ({f"{WORKER}.suspend": True}, f"{SHOWN}.suspend: a group of a cluster that scales cannot be suspended"),
    ({f"{WORKER}.template.spec.restartPolicy": "OnFailure"}, "it is OnFailure; with autoscaler v2 it must be Never"),
    ({f"{C}.autoscalerOptions.version": "v1", f"{WORKER}.idleTimeoutSeconds": 9}, "idleTimeoutSeconds: a group has"),
    ({f"{WORKER}.priority": 1, f"{C}.rayVersion": "2.55.0"}, f"{SHOWN}.priority: it needs autoscaler v2 and Ray 2.56"),
    ({f"{C}.gcsFaultToleranceOptions": {"redisAddress": "r"}, "metadata.annotations": {"ray.io/ft-enabled": "true"}},
     "it and the annotation ray.io/ft-enabled are both set"),
    ({f"{C}.gcsFaultToleranceOptions": {"redisAddress": "r"}, "metadata.annotations": {
        "ray.io/external-storage-namespace": "n"}}, "externalStorageNamespace: use it, not ray.io/external"),
    ({f"{C}.gcsFaultToleranceOptions": {"redisAddress": "r"}, ENV: [{"name": "REDIS_PASSWORD", "value": "x"}]},
     "env: REDIS_PASSWORD belongs into"),
    ({f"{C}.gcsFaultToleranceOptions": {"redisAddress": "r"}, f"{HEAD}.rayStartParams.redis-password": "x"},
     "redis-password: use spec.rayClusterSpec.gcsFaultToleranceOptions.redisPassword"),
    ({ENV: [{"name": "RAY_REDIS_ADDRESS", "value": "r"}]}, "env: RAY_REDIS_ADDRESS needs"),
    ({f"{HEAD}.rayStartParams.redis-username": "x"}, "the name of the user for Redis belongs into"),
    ({f"{C}.rayVersion": None}, f"{C}.rayVersion: authOptions.mode: token needs it, 2.52 or later"),
    ({f"{C}.rayVersion": "2.51.0"}, f"{C}.rayVersion: authOptions.mode: token needs Ray 2.52 or later"),
    ({f"{C}.rayVersion": "2.54.0", f"{C}.authOptions.enableK8sTokenAuth": True}, "enableK8sTokenAuth needs Ray 2.55"),
    # what Winnow needs of the pods
    ({f"{POD}.containers.0.resources.limits.cpu": None}, "containers[0].resources.limits.cpu: the limit is missing"),
    ({f"{POD}.containers.0.resources.limits.memory": None}, "resources.limits.memory: the limit is missing"),
    ({f"{POD}.containers.0.resources.requests.memory": "1Gi"}, "requests.memory: 1Gi differs from the limit, 16Gi"),
    ({f"{POD}.containers.0.resources.requests.(nvidia.com/gpu)": 1}, "limits.nvidia.com/gpu: the limit is missing"),
    ({f"{POD}.containers.0.volumeMounts": []}, "containers[0].volumeMounts: nothing is mounted at /dev/shm"),
    ({f"{POD}.volumes": []}, "containers[0].volumeMounts: /dev/shm: the pod has no volume 'shm'"),
    # versions
    ({f"{C}.rayVersion": "2.59.0"}, f"{C}.rayVersion: it is 2.59.0; constraints.txt has Ray {ray_here()}"),
    ({f"{POD}.containers.0.image": "winnow:0.1.0-ray2.59.0-py311-cpu"}, "it has Ray 2.59.0; constraints.txt has Ray"),
    ({f"{POD}.containers.0.image": "rayproject/ray:2.59.0"}, "rayproject/ray:2.59.0: it has Ray 2.59.0"),
    ({f"{POD}.containers.0.image": "winnow:latest"}, "winnow:latest: name a tag that does not move"),
    ({f"{POD}.containers.0.image": "winnow"}, "winnow: name a tag that does not move"),
    ({f"{POD}.containers.0.image": "winnow:0.1.0"}, "winnow:0.1.0: the tag does not say the version of Ray"),
    ({f"{POD}.containers.0.image": f"w:ray{ray_here()}-py312"}, "the images have several Pythons: 3.11, 3.12"),
    ({f"{WORKER}.template.spec.containers.0.image": f"w:ray{ray_here()}-py310"}, "it has Python 3.10; Winnow needs"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), JOBS, ids=[said[:60] for _, said in JOBS])
def test_a_manifest_that_breaks_a_rule_is_told_where_and_what(shipped, changes, said):
    found = [f"{path}: {words}" for path, words in findings(changed("rayjob.yaml", changes), shipped, ray_here())]
    assert any(said in each for each in found), found


def test_a_manifest_without_a_fault_has_no_finding_and_defaults_are_filled_in(shipped):
    fine = changed("rayjob.yaml", {f"{WORKER}.minReplicas": None, f"{WORKER}.maxReplicas": None})
    assert findings(fine, shipped, ray_here()) == []
    assert "minReplicas" not in fine.content["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]


def test_a_cluster_is_held_to_its_rules_too(shipped):
    made = changed("raycluster.yaml", {"metadata.name": "w" * 54, "spec.workerGroupSpecs.1.minReplicas": 9})
    said = [f"{path}: {words}" for path, words in findings(made, shipped, ray_here())]
    assert said == [
        f"metadata.name: {'w' * 54!r} has 54 characters, and 53 are allowed",
        "spec.workerGroupSpecs[1].minReplicas: 9 is above maxReplicas, which is 8",
    ]


@NEEDS_WHOLE
def test_a_typo_in_a_pod_is_found_by_kuberays_own_definitions(whole):
    made = changed("rayjob.yaml", {f"{POD}.containers.0.imagePullPolice": "Never", f"{POD}.containers.0.tty": "no"})
    said = {f"{path}: {words}" for path, words in findings(made, whole, ray_here())}
    assert said == {
        f"{POD}.containers[0].imagePullPolice: there is no such field; did you mean 'imagePullPolicy'?",
        f"{POD}.containers[0].tty: 'no' is not of the type boolean",
    }


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
