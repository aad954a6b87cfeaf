"""Each rule for manifests, by a manifest that breaks it; what is right has no finding."""

import pytest
import yaml

from jobs.engine.manifests.checking import findings, ray_here
from jobs.engine.manifests.schema import LOADER, SHIPPED, schemas_in
from tests.jobs.engine.manifests.faults import WHOLE, changed
from tests.jobs.engine.manifests.trimming import written

NEEDS_WHOLE = pytest.mark.skipif(not WHOLE.is_dir(), reason="KubeRay's own definitions are not here")

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
    ({f"{POD}.volumes.0.name": {"x": None}}, "volumeMounts: /dev/shm: the pod has no volume 'shm'"),
    ({f"{POD}.containers.0.volumeMounts.1.name": {"x": 1}}, "/tmp/ray: the pod has no volume {'x': 1}"),
    ({f"{POD}.containers.0.volumeMounts.0.mountPath": ["/dev/shm"]}, "volumeMounts: nothing is mounted at /dev/shm"),
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
    ({"spec.entrypoint": "python -m jobs.curat ltd /d"}, "spec.entrypoint: no command 'curat'; did you mean 'curate'?"),
    ({"spec.entrypoint": "python -m jobs.curate ldt /d"}, "spec.entrypoint: no recipe 'ldt'; did you mean 'ltd'?"),
    ({"spec.entrypoint": "winnow curate ldt /d"}, "spec.entrypoint: no recipe 'ldt'; did you mean 'ltd'?"),
    ({"kind": "RayJbo"}, "kind: there is no RayJbo; did you mean 'RayJob'?"),
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
    ({f"{POD}.containers.0.resources.limits.memory": "32GB"}, "limits.memory: '32GB' is not an amount, such as 2"),
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


@pytest.fixture(scope="module")
def shipped():
    return schemas_in(SHIPPED)


@pytest.fixture(scope="module")
def whole():
    return schemas_in(WHOLE)


@pytest.mark.parametrize(("changes", "said"), JOBS, ids=[said[:60] for _, said in JOBS])
@pytest.mark.fault(
    "a manifest for Kubernetes is wrong",
    how="typos, a missing limit, minReplicas above maxReplicas and more",
    holds="file, object, field and what to do",
)
def test_a_manifest_that_breaks_a_rule_is_told_where_and_what(shipped, changes, said):
    found = [f"{path}: {words}" for path, words in findings(changed("rayjob.yaml", changes), shipped, ray_here())]
    assert any(said in each for each in found), found


def test_a_manifest_without_a_fault_has_no_finding_and_defaults_are_filled_in(shipped):
    fine = changed("rayjob.yaml", {f"{WORKER}.minReplicas": None, f"{WORKER}.maxReplicas": None})
    assert findings(fine, shipped, ray_here()) == []
    assert "minReplicas" not in fine.content["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]


@pytest.mark.parametrize("command", ["curate ltd /shared/jobs.jsonl", "fit-rule /d --heldout /h/winnow all.jsonl"])
def test_a_path_in_an_entrypoint_is_no_command(shipped, command):
    assert findings(changed("rayjob.yaml", {"spec.entrypoint": f"winnow {command}"}), shipped, ray_here()) == []


def test_a_variable_that_holds_no_secret_is_not_taken_for_one(shipped):
    named = ("TOKENIZERS_PARALLELISM", "MAX_TOKENS", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS")
    for name, findings_there in [*((name, 0) for name in named), ("HF_TOKEN", 1), ("AWS_SESSION_TOKEN", 1)]:
        made = changed("rayjob.yaml", {"spec.runtimeEnvYAML": f"env_vars: {{{name}: x}}"})
        assert len(findings(made, shipped, ray_here())) == findings_there, name


@pytest.mark.parametrize("wrong", [["a"], {"a": "b"}])
@pytest.mark.parametrize(
    "place", ["containers.0.volumeMounts.0.name", "containers.0.volumeMounts.0.mountPath", "volumes.0.name"]
)
def test_a_name_of_a_volume_that_is_no_text_is_a_finding(shipped, place, wrong):
    assert findings(changed("rayjob.yaml", {f"{POD}.{place}": wrong}), shipped, ray_here())


def test_a_cluster_is_held_to_its_rules_too(shipped):
    made = changed("raycluster.yaml", {"metadata.name": "w" * 54, "spec.workerGroupSpecs.1.minReplicas": 9})
    said = [f"{path}: {words}" for path, words in findings(made, shipped, ray_here())]
    assert said == [
        f"metadata.name: {'w' * 54!r} has 54 characters, and 53 are allowed",
        "spec.workerGroupSpecs[1].minReplicas: 9 is above maxReplicas, which is 8",
    ]


@NEEDS_WHOLE
@pytest.mark.fault(
    "a manifest for Kubernetes is wrong",
    how="a typo within a pod",
    holds="found by KubeRay's definitions",
)
def test_a_typo_in_a_pod_is_found_by_kuberays_own_definitions(whole):
    made = changed("rayjob.yaml", {f"{POD}.containers.0.imagePullPolice": "Never", f"{POD}.containers.0.tty": "no"})
    said = {f"{path}: {words}" for path, words in findings(made, whole, ray_here())}
    assert said == {
        f"{POD}.containers[0].imagePullPolice: there is no such field; did you mean 'imagePullPolicy'?",
        f"{POD}.containers[0].tty: 'no' is not of the type boolean",
    }


@NEEDS_WHOLE
def test_the_shipped_definitions_are_kuberays_trimmed():
    for file in sorted(WHOLE.glob("*.yaml")):
        assert (SHIPPED / file.name).read_text() == written(yaml.load(file.read_text(), Loader=LOADER))
