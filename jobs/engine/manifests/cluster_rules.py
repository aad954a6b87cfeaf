"""What KubeRay's operator refuses in the cluster of a RayCluster or RayJob beyond its schema."""

import re
from collections.abc import Iterator

from jobs.engine.manifests.documents import Document, Finding, Node, items, mapping, numbered

LONGEST_NAME = 53
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?")
RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")
"""The parameters of `ray start` that say what a node has."""
REDIS = "RAY_REDIS_ADDRESS"
V2 = "RAY_enable_autoscaler_v2"
TOKEN_SINCE = (2, 52)
KUBERNETES_TOKEN_SINCE = (2, 55)
PRIORITY_SINCE = (2, 56)


def raycluster_findings(document: Document) -> Iterator[Finding]:
    """Each rule that a RayCluster breaks."""
    yield from name_findings(document, LONGEST_NAME)
    annotations = mapping(mapping(document.content.get("metadata")).get("annotations"))
    yield from cluster_findings(mapping(document.content.get("spec")), "spec", annotations)


def name_findings(document: Document, longest: int) -> Iterator[Finding]:
    """What is wrong with the name of an object, from which names of services are made."""
    name = document.name
    if not name:
        if not mapping(document.content.get("metadata")).get("generateName"):
            yield Finding("metadata.name", "the field is missing")
        return
    if len(name) > longest:
        yield Finding("metadata.name", f"{name!r} has {len(name)} characters, and {longest} are allowed")
    if not DNS_1035.fullmatch(name):
        yield Finding("metadata.name", f"{name!r} is not made of a-z, 0-9 and -, beginning with a letter")


def groups(spec: Node, path: str) -> Iterator[tuple[Node, str]]:
    """The head group and each group of workers, with its path."""
    yield mapping(spec.get("headGroupSpec")), f"{path}.headGroupSpec"
    yield from numbered(spec.get("workerGroupSpecs"), f"{path}.workerGroupSpecs")


def containers(group: Node) -> list[Node]:
    """The containers of a group's pods. The first is Ray's."""
    pod = mapping(mapping(group.get("template")).get("spec"))
    return [mapping(each) for each in items(pod.get("containers"))]


def variables(group: Node) -> dict[str, str]:
    """The environment variables of the Ray container in a group, with their values as far as they are written."""
    (ray, *_) = containers(group) or [{}]
    listed = [mapping(each) for each in items(ray.get("env"))]
    return {str(each.get("name")): str(each.get("value", "")) for each in listed}


def restarts(group: Node, path: str, because: str) -> Iterator[Finding]:
    """What is wrong with the restartPolicy of a group whose pods may not be restarted."""
    policy = mapping(mapping(group.get("template")).get("spec")).get("restartPolicy")
    if policy not in (None, "", "Never"):
        yield Finding(
            f"{path}.template.spec.restartPolicy", f"it is {policy}; with {because} it must be Never or unset"
        )


def cluster_findings(spec: Node, path: str, annotations: Node) -> Iterator[Finding]:
    """Each rule that the spec of a cluster breaks."""
    for group, where in groups(spec, path):
        yield from _group(group, where)
    yield from _sizes(spec, path)
    yield from _autoscaling(spec, path)
    yield from _fault_tolerance(spec, path, annotations)
    yield from _authentication(spec, path)


def _group(group: Node, path: str) -> Iterator[Finding]:
    if not containers(group):
        yield Finding(f"{path}.template.spec.containers", "there is no container")
    params = mapping(group.get("rayStartParams"))
    twice = [name for name in RESOURCES if name in params]
    if twice and mapping(group.get("resources")):
        yield Finding(f"{path}.resources", f"resources and rayStartParams.{twice[0]} are both set; use one of them")
    if "labels" in params:
        yield Finding(f"{path}.rayStartParams.labels", f"it is not supported here; use {path}.labels")
    for name, value in mapping(group.get("labels")).items():
        if not LABEL_KEY.fullmatch(str(name)):
            yield Finding(f"{path}.labels", f"{name!r} is not the name of a label")
        if not LABEL.fullmatch(str(value)):
            yield Finding(f"{path}.labels.{name}", f"{value!r} is not the value of a label")
    for name, value in params.items():
        if not isinstance(value, str):
            yield Finding(f"{path}.rayStartParams.{name}", f"{value!r} is not text: put it in quotation marks")


def _sizes(spec: Node, path: str) -> Iterator[Finding]:
    """How many pods the groups of workers have."""
    names: set[str] = set()
    for group, where in numbered(spec.get("workerGroupSpecs"), f"{path}.workerGroupSpecs"):
        name = str(group.get("groupName", ""))
        if name in names:
            yield Finding(f"{where}.groupName", f"another group has the name {name!r}")
        names.add(name)
        low, high = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
        if not isinstance(low, int) or not isinstance(high, int):
            continue
        if min(low, high) < 0:
            yield Finding(f"{where}.minReplicas", f"minReplicas {low} and maxReplicas {high}: neither may be below 0")
        if low > high:
            yield Finding(f"{where}.minReplicas", f"{low} is above maxReplicas, which is {high}")
        count = group.get("replicas")
        if isinstance(count, int) and low <= high and not low <= count <= high:
            yield Finding(f"{where}.replicas", f"{count} is not between minReplicas {low} and maxReplicas {high}")


def _autoscaling(spec: Node, path: str) -> Iterator[Finding]:
    on = spec.get("enableInTreeAutoscaling") is True
    options = mapping(spec.get("autoscalerOptions"))
    head = mapping(spec.get("headGroupSpec"))
    asked = variables(head).get(V2)
    if not on:
        if asked in ("1", "true"):
            yield Finding(f"{path}.headGroupSpec", f"{V2} needs enableInTreeAutoscaling: true")
        if options:
            yield Finding(f"{path}.autoscalerOptions", "it has no effect without enableInTreeAutoscaling: true")
        return
    if "version" in options and asked is not None:
        yield Finding(f"{path}.autoscalerOptions.version", f"it and the variable {V2} are both set; leave the variable")
    second = options.get("version") == "v2" or asked in ("1", "true")
    version = ray_version(spec)
    for group, where in groups(spec, path):
        if group.get("suspend") is True:
            yield Finding(f"{where}.suspend", "a group of a cluster that scales cannot be suspended")
        if second:
            yield from restarts(group, where, "autoscaler v2")
        elif "idleTimeoutSeconds" in group:
            yield Finding(f"{where}.idleTimeoutSeconds", "a group has one only with autoscalerOptions.version: v2")
        if "priority" in group and (not second or (version and version < PRIORITY_SINCE)):
            yield Finding(f"{where}.priority", f"it needs autoscaler v2 and Ray {_written(PRIORITY_SINCE)} or later")


def _fault_tolerance(spec: Node, path: str, annotations: Node) -> Iterator[Finding]:
    head, where = mapping(spec.get("headGroupSpec")), f"{path}.headGroupSpec"
    params, environment = mapping(head.get("rayStartParams")), variables(head)
    option = f"{path}.gcsFaultToleranceOptions"
    enabled = str(annotations.get("ray.io/ft-enabled", ""))
    if "gcsFaultToleranceOptions" in spec:
        if enabled:
            yield Finding(option, "it and the annotation ray.io/ft-enabled are both set; leave the annotation out")
        if annotations.get("ray.io/external-storage-namespace"):
            yield Finding(f"{option}.externalStorageNamespace", "use it, not ray.io/external-storage-namespace")
        for name in (REDIS, "REDIS_PASSWORD"):
            if name in environment:
                yield Finding(f"{where}.template.spec.containers[0].env", f"{name} belongs into {option}")
        if params.get("redis-password"):
            yield Finding(f"{where}.rayStartParams.redis-password", f"use {option}.redisPassword")
    elif REDIS in environment and enabled.lower() != "true":
        yield Finding(f"{where}.template.spec.containers[0].env", f"{REDIS} needs {option}")
    if params.get("redis-username") or "REDIS_USERNAME" in environment:
        yield Finding(where, f"the name of the user for Redis belongs into {option}.redisUsername")


def _authentication(spec: Node, path: str) -> Iterator[Finding]:
    options, version = mapping(spec.get("authOptions")), ray_version(spec)
    if options.get("mode") != "token":
        return
    if version is None:
        yield Finding(f"{path}.rayVersion", f"authOptions.mode: token needs it, {_written(TOKEN_SINCE)} or later")
    elif version < TOKEN_SINCE:
        yield Finding(f"{path}.rayVersion", f"authOptions.mode: token needs Ray {_written(TOKEN_SINCE)} or later")
    if options.get("enableK8sTokenAuth") and version and version < KUBERNETES_TOKEN_SINCE:
        yield Finding(f"{path}.rayVersion", f"enableK8sTokenAuth needs Ray {_written(KUBERNETES_TOKEN_SINCE)} or later")


def ray_version(spec: Node) -> tuple[int, int] | None:
    """The major and minor version of Ray that a cluster says it has; None where it says none."""
    found = re.match(r"(\d+)\.(\d+)", str(spec.get("rayVersion", "")))
    return (int(found[1]), int(found[2])) if found else None


def _written(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
