"""What Winnow needs of the pods of a cluster: limits, shared memory, and one version of Ray and Python everywhere."""

import re
from collections.abc import Iterator

from jobs.engine.manifests.cluster_rules import containers, groups
from jobs.engine.manifests.documents import Finding, Node, items, mapping, numbered
from jobs.engine.manifests.kustomize import split_image

LIMITS = ("cpu", "memory")
GPU = "nvidia.com/gpu"
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
"""An amount as Kubernetes writes it."""
RAY_IN_TAG = re.compile(r"(?:^|[^a-z0-9])ray-?(\d+\.\d+\.\d+)")
RAYS_OWN = re.compile(r"v?(\d+\.\d+\.\d+)")
PYTHON_IN_TAG = re.compile(r"py(\d)\.?(\d+)")
PYTHONS = ("3.11", "3.12", "3.13")
"""The versions of Python that Winnow runs with."""


def pod_findings(spec: Node, path: str, ray: str) -> Iterator[Finding]:
    """What is wrong with the pods of the spec of a cluster, for this version of Ray."""
    pythons: dict[str, str] = {}
    for group, where in groups(spec, path):
        for container, place in numbered(containers(group), f"{where}.template.spec.containers"):
            yield from _limits(container, place)
        yield from _shared_memory(group, where)
        if containers(group):
            image = str(containers(group)[0].get("image", ""))
            place = f"{where}.template.spec.containers[0].image"
            yield from _image(image, place, ray)
            if found := PYTHON_IN_TAG.search(split_image(image)[1]):
                pythons.setdefault(f"{found[1]}.{found[2]}", place)
    stated = str(spec.get("rayVersion", ""))
    if stated != ray:
        yield Finding(f"{path}.rayVersion", f"it is {stated or 'missing'}; constraints.txt has Ray {ray}")
    if len(pythons) > 1:
        yield Finding(list(pythons.values())[1], f"the images have several Pythons: {', '.join(sorted(pythons))}")
    for version, place in pythons.items():
        if version not in PYTHONS:
            yield Finding(place, f"it has Python {version}; Winnow needs one of {', '.join(PYTHONS)}")


def _limits(container: Node, path: str) -> Iterator[Finding]:
    resources = mapping(container.get("resources"))
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    for kind, given in (("limits", limits), ("requests", requests)):
        for name, amount in given.items():
            if not QUANTITY.fullmatch(str(amount)):
                yield Finding(
                    f"{path}.resources.{kind}.{name}", f"{amount!r} is not an amount, such as 2, 500m or 16Gi"
                )
    for name in LIMITS:
        if name not in limits:
            yield Finding(f"{path}.resources.limits.{name}", "the limit is missing; Ray takes it for what the node has")
    for name in ("memory", GPU):
        if name in requests and name in limits and str(requests[name]) != str(limits[name]):
            yield Finding(
                f"{path}.resources.requests.{name}", f"{requests[name]} differs from the limit, {limits[name]}"
            )
    if GPU in requests and GPU not in limits:
        yield Finding(f"{path}.resources.limits.{GPU}", "the limit is missing; a GPU is given by its limit")


def _shared_memory(group: Node, path: str) -> Iterator[Finding]:
    """A pod without a volume there has 64 MiB of shared memory, and Ray then keeps its objects on the disk."""
    for container, where in numbered(containers(group)[:1], f"{path}.template.spec.containers"):
        mounts = {str(mapping(each).get("mountPath")): mapping(each) for each in items(container.get("volumeMounts"))}
        if "/dev/shm" not in mounts:
            yield Finding(f"{where}.volumeMounts", "nothing is mounted at /dev/shm; Ray needs more than its 64 MiB")
        pod = mapping(mapping(group.get("template")).get("spec"))
        there = {str(mapping(each).get("name")) for each in items(pod.get("volumes"))}
        for place, mount in mounts.items():
            if str(mount.get("name")) not in there:
                yield Finding(f"{where}.volumeMounts", f"{place}: the pod has no volume {mount.get('name')!r}")


def _image(image: str, path: str, ray: str) -> Iterator[Finding]:
    name, tag = split_image(image)
    if "@" in image and not tag:
        return
    if tag in ("", "latest"):
        yield Finding(path, f"{image or 'none'}: name a tag that does not move, with the version of Ray in it")
        return
    own = RAYS_OWN.match(tag) if name.rpartition("/")[2].startswith("ray") else None
    found = RAY_IN_TAG.search(tag) or own
    if not found:
        yield Finding(path, f"{image}: the tag does not say the version of Ray; name it such as 0.1.0-ray{ray}-py311")
    elif found[1] != ray:
        yield Finding(path, f"{image}: it has Ray {found[1]}; constraints.txt has Ray {ray}")
