"""What KubeRay's operator refuses in a RayJob beyond its schema, and what would make the job wait forever.

The operator writes such a refusal into the events of the object, after it was accepted, and starts nothing. The rules
are those of its validation.go and of the CEL expressions in its definitions, in the words of the fields.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from jobs.engine.manifests.cluster_rules import cluster_findings, name_findings, restarts
from jobs.engine.manifests.documents import Document, Finding, Node, items, mapping, numbered
from jobs.engine.terminal.modules import commands, nearest, recipe_names

LONGEST_NAME = 47
SUBMITTERS = ("submitterPodTemplate", "submitterConfig")
ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
"""What is deleted first to last."""
ENTRYPOINT = re.compile(
    r"(?:-m\s+jobs\.|(?<![\w.-])winnow\s+)(?P<command>[A-Za-z][\w-]*)(?:\s+(?P<recipe>[A-Za-z]\w*)(?=\s|$))?"
)
SECRET = re.compile(r"(?i)(api[_-]?key|token(?!s|iz)|secret|password|credential)")
"""Names of variables that hold secrets, and not those of TOKENIZERS_PARALLELISM and MAX_TOKENS."""
PLACES = re.compile(r"(?i).*_(path|file)|google_application_credentials")
"""Names of variables that say where a secret is."""


def job_findings(document: Document) -> Iterator[Finding]:
    """Each rule that a RayJob breaks."""
    spec = mapping(document.content.get("spec"))
    yield from name_findings(document, LONGEST_NAME)
    yield from _ending(spec)
    yield from _deletion(spec)
    yield from _place(spec)
    yield from _submission(spec)
    yield from _runtime_env(spec)
    if "rayClusterSpec" in spec:
        annotations = mapping(mapping(document.content.get("metadata")).get("annotations"))
        yield from cluster_findings(mapping(spec["rayClusterSpec"]), "spec.rayClusterSpec", annotations)


def _ending(spec: Node) -> Iterator[Finding]:
    """How a job ends: deadlines, retries and what is left of it."""
    stays = spec.get("shutdownAfterJobFinishes") is not True
    after = spec.get("ttlSecondsAfterFinished", 0)
    if _number(after) < 0:
        yield Finding("spec.ttlSecondsAfterFinished", f"{after} is below 0")
    if _number(after) > 0 and stays:
        yield Finding("spec.ttlSecondsAfterFinished", "it needs shutdownAfterJobFinishes: true")
    for name in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if name in spec and _number(spec[name]) <= 0:
            yield Finding(f"spec.{name}", f"{spec[name]} is not above 0")
    if _number(spec.get("backoffLimit", 0)) < 0:
        yield Finding("spec.backoffLimit", f"{spec['backoffLimit']} is below 0")
    if spec.get("suspend") is True and stays:
        yield Finding("spec.suspend", "a job can be suspended only with shutdownAfterJobFinishes: true")


def _place(spec: Node) -> Iterator[Finding]:
    """Where a job runs: a cluster of its own, or one that is there."""
    selector = mapping(spec.get("clusterSelector"))
    if not selector:
        if "rayClusterSpec" not in spec:
            yield Finding("spec.rayClusterSpec", "it is missing; give it, or a clusterSelector")
        return
    if not selector.get("ray.io/cluster"):
        yield Finding("spec.clusterSelector", "it has no ray.io/cluster, the name of the cluster")
    if spec.get("suspend") is True:
        yield Finding("spec.suspend", "a job on a selected cluster cannot be suspended")
    if _number(spec.get("backoffLimit", 0)) > 0:
        yield Finding("spec.backoffLimit", "a retry starts a new cluster, so it needs rayClusterSpec, no selector")


def _submission(spec: Node) -> Iterator[Finding]:
    """How the command comes to the cluster."""
    mode = spec.get("submissionMode", "K8sJobMode")
    cluster = mapping(spec.get("rayClusterSpec"))
    if mode == "InteractiveMode" and _number(spec.get("backoffLimit", 0)) > 0:
        yield Finding("spec.backoffLimit", "InteractiveMode has no retries")
    if mode != "InteractiveMode" and not str(spec.get("entrypoint", "")).strip():
        yield Finding("spec.entrypoint", "it is missing: the command that the job runs")
    yield from _command(str(spec.get("entrypoint", "")))
    if mode == "SidecarMode":
        for name in SUBMITTERS:
            if name in spec:
                yield Finding(f"spec.{name}", "SidecarMode has no pod of its own to submit from")
        if mapping(spec.get("clusterSelector")):
            yield Finding("spec.clusterSelector", "SidecarMode needs a cluster of its own")
        yield from restarts(mapping(cluster.get("headGroupSpec")), "spec.rayClusterSpec.headGroupSpec", mode)
    if mapping(cluster.get("authOptions")).get("enableK8sTokenAuth"):
        yield Finding("spec.rayClusterSpec.authOptions.enableK8sTokenAuth", "a RayJob cannot have it; use mode: token")
    head = mapping(mapping(cluster.get("headGroupSpec")).get("rayStartParams"))
    if str(head.get("num-cpus", "")) == "0" and _number(spec.get("entrypointNumCpus", 0)) > 0:
        yield Finding("spec.entrypointNumCpus", "the head has no CPUs, so the command would wait forever: leave it out")


def _runtime_env(spec: Node) -> Iterator[Finding]:
    if "runtimeEnvYAML" not in spec:
        return
    try:
        content = yaml.safe_load(str(spec["runtimeEnvYAML"]))
    except yaml.YAMLError as error:
        yield Finding("spec.runtimeEnvYAML", f"it is not YAML: {' '.join(str(error).split())}")
        return
    if content is not None and not isinstance(content, dict):
        yield Finding("spec.runtimeEnvYAML", "it is not a mapping")
    for name in mapping(mapping(content).get("env_vars")):
        if SECRET.search(str(name)) and not PLACES.fullmatch(str(name)):
            yield Finding(
                "spec.runtimeEnvYAML",
                f"{name} looks like a secret, and everyone who sees the job sees it: use a Secret in the pods' env",
            )


def _command(entrypoint: str) -> Iterator[Finding]:
    """The command and the recipe that an entrypoint names, of which a mistyped one would cost a cluster per try."""
    found = ENTRYPOINT.search(entrypoint)
    if not found:
        return
    command, recipe = found["command"].replace("-", "_"), found["recipe"] or ""
    if command not in commands():
        yield Finding("spec.entrypoint", f"no command {command!r}{nearest(command, commands())}")
    elif command == "curate" and recipe and recipe not in recipe_names():
        yield Finding("spec.entrypoint", f"no recipe {recipe!r}{nearest(recipe, recipe_names())}")


def _deletion(spec: Node) -> Iterator[Finding]:
    """The rules of deletionStrategy, which replaces shutdownAfterJobFinishes and ttlSecondsAfterFinished."""
    if "deletionStrategy" not in spec:
        return
    strategy, where = mapping(spec["deletionStrategy"]), "spec.deletionStrategy"
    old = [name for name in ("onSuccess", "onFailure") if name in strategy]
    rules = items(strategy.get("deletionRules"))
    if rules and old:
        yield Finding(where, f"it has deletionRules and {old[0]}; use only deletionRules")
    elif not rules and len(old) < 2:
        yield Finding(where, "it needs deletionRules, or both onSuccess and onFailure")
    if rules and spec.get("shutdownAfterJobFinishes") is True:
        yield Finding(where, "deletionRules and shutdownAfterJobFinishes: true exclude each other")
    autoscaling = mapping(spec.get("rayClusterSpec")).get("enableInTreeAutoscaling") is True
    selected = bool(mapping(spec.get("clusterSelector")))
    for rule, path in numbered(rules, f"{where}.deletionRules"):
        policy = str(rule.get("policy"))
        if policy == "DeleteWorkers" and autoscaling:
            yield Finding(f"{path}.policy", "DeleteWorkers does not go with enableInTreeAutoscaling")
        if policy in ORDER[:2] and selected:
            yield Finding(f"{path}.policy", f"{policy} does not go with clusterSelector")
    yield from _times(rules, f"{where}.deletionRules")


def _times(rules: list[Any], where: str) -> Iterator[Finding]:
    """When the rules delete: each thing once for a status, and the workers before the cluster before the job."""
    seconds: dict[str, dict[str, float]] = {}
    for rule, path in numbered(rules, where):
        policy, condition = str(rule.get("policy")), mapping(rule.get("condition"))
        after, status = _number(condition.get("ttlSeconds", 0)), str(condition.get("jobStatus"))
        if after < 0:
            yield Finding(f"{path}.condition.ttlSeconds", f"{after:g} is below 0")
        if policy in seconds.setdefault(status, {}):
            yield Finding(path, f"there is another rule for {policy} on {status}")
        seconds[status][policy] = after
    for status, found in seconds.items():
        times = [found[policy] for policy in ORDER if policy in found]
        if times != sorted(times):
            yield Finding(where, f"on {status} the times do not rise in the order {', '.join(ORDER)}")


def _number(value: object) -> float:
    """The value if it is a number, or else 0; the schema says what is wrong with it."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
