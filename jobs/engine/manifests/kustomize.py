"""A kustomization as the objects that it makes: its resources with its patches, images and namespace.

This is the part of kustomize that cluster/overlays uses. A field of a kustomization that is not known here is refused,
so that nothing is checked that kustomize would make otherwise.

Kustomize merges a patch into an object of Kubernetes' own kinds by the keys of its lists. It knows no such keys for a
custom resource, whose lists a patch replaces. So does this module, for all kinds, and it refuses a patch of a
kind of Kubernetes' own that has a list of mappings.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.engine.manifests.documents import (
    KUSTOMIZATION,
    SUFFIXES,
    Document,
    Node,
    content_of,
    documents_in,
    items,
    mapping,
    numbered,
    of_kubernetes,
    parsed,
)
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.modules import nearest

FIELDS = ("apiVersion", "kind", "resources", "patches", "images", "namespace")
CLUSTER_WIDE = ("PersistentVolume", "StorageClass", "ClusterRole", "ClusterRoleBinding")
"""The kinds that have no namespace."""
CUSTOM = "ray.io/"
CONTAINERS = ("containers", "initContainers")


def kustomization_in(folder: Path) -> Path | None:
    """The file that describes a folder for kustomize; None where there is none."""
    return next((folder / name for name in KUSTOMIZATION if (folder / name).is_file()), None)


def documents_at(place: Path) -> list[Document]:
    """The documents in a file, of a rendered kustomization, or in the files of any other folder.

    UsageError where there is no such place, or something in it cannot be read or rendered.
    """
    if not place.is_dir():
        return _rendered(place) if place.name in KUSTOMIZATION else documents_in(place)
    if file := kustomization_in(place):
        return _rendered(file)
    named = sorted(each for each in place.iterdir() if each.suffix in SUFFIXES)
    files = [each for each in named if any(map(of_kubernetes, parsed(content_of(each), str(each))))]
    if not files:
        raise UsageError(f"{place}: the folder holds no manifest")
    return [document for file in files for document in documents_in(file)]


def _rendered(file: Path) -> list[Document]:
    contents = parsed(content_of(file), str(file)) or [{}]
    content = contents[0]
    if len(contents) > 1 or not isinstance(content, dict):
        raise UsageError(f"{file}: a kustomization is one mapping")
    for name in content:
        if name not in FIELDS:
            raise UsageError(
                f"{file}: {name}: this field of kustomize is not understood here{nearest(name, FIELDS)}: check what "
                "`kubectl kustomize` prints instead"
            )
    made = [each for name in items(content.get("resources")) for each in _resource(file, str(name))]
    for patch, path in numbered(content.get("patches"), "patches"):
        made = _patched(made, patch, f"{file}: {path}", file.parent)
    for image, _ in numbered(content.get("images"), "images"):
        for each in made:
            _rename_images(each, image)
    for each in made:
        if content.get("namespace"):
            _put_into(each, str(content["namespace"]))
    return [Document(str(file.parent), each) for each in made]


def _put_into(made: Any, namespace: str) -> None:
    """Gives an object its namespace, and a namespace its name, as kustomize does."""
    if made["kind"] == "Namespace":
        made["metadata"]["name"] = namespace
    elif made["kind"] not in CLUSTER_WIDE:
        made["metadata"]["namespace"] = namespace


def _resource(file: Path, name: str) -> Iterator[Any]:
    """The contents of a file or folder that a kustomization names. UsageError as kustomize would refuse it."""
    place = (file.parent / name).resolve()
    if place.is_dir():
        inner = kustomization_in(place)
        if inner is None:
            raise UsageError(f"{file}: resources: {name} has no {KUSTOMIZATION[0]}")
        if file.parent.resolve().is_relative_to(place):
            raise UsageError(f"{file}: resources: {name} contains this folder; kustomize refuses that")
        found = _rendered(inner)
    elif not place.is_relative_to(file.parent.resolve()):
        raise UsageError(f"{file}: resources: {name} is outside of this folder; kustomize takes only folders there")
    else:
        found = documents_in(place)
    yield from (_named(copy.deepcopy(dict(each.content)), f"{file}: resources: {name}") for each in found)


def _named(made: Any, where: str) -> Any:
    """The object. UsageError where it has no version or name, without which kustomize takes none."""
    named = isinstance(made, dict) and mapping(made.get("metadata")).get("name")
    if not named or not isinstance(made.get("kind"), str) or not isinstance(made.get("apiVersion"), str):
        raise UsageError(f"{where}: an object needs an apiVersion, a kind and a metadata.name")
    return made


def _patched(made: list[Any], patch: Node, where: str, folder: Path) -> list[Any]:
    """The objects after one patch. UsageError where it fits no object, or cannot be applied."""
    text = content_of(folder / str(patch["path"])) if "path" in patch else str(patch.get("patch", ""))
    if text.startswith("["):
        _refuse_other_than_json(text, where)
    contents = parsed(text, where)
    if len(contents) != 1:
        raise UsageError(f"{where}: a patch is one document, and this has {len(contents)}")
    content = contents[0]
    if not isinstance(content, dict | list):
        raise UsageError(f"{where}: a patch is a mapping or a list of operations")
    target = mapping(patch.get("target")) or _own_target(content, where)
    try:
        fitting = [each for each in made if _fits(each, target)]
    except re.error as error:
        raise UsageError(f"{where}: the target {_words(target)} is no regular expression: {error}") from None
    if not fitting:
        there = ", ".join(f"{each['kind']} {each['metadata']['name']}" for each in made)
        raise UsageError(f"{where}: no object is {_words(target)}; there are {there}")
    if isinstance(content, dict) and content.get("$patch") == "delete":
        return [each for each in made if each not in fitting]
    return [_named(_edited(each, content, where), where) if each in fitting else each for each in made]


def _refuse_other_than_json(text: str, where: str) -> None:
    """UsageError where a patch begins with a bracket and is not JSON, for which kustomize then takes it."""
    try:
        json.loads(text)
    except ValueError:
        raise UsageError(
            f"{where}: kustomize takes a patch that begins with [ for JSON, and this is not: begin its lines with -"
        ) from None


def _own_target(content: Any, where: str) -> Node:
    if not isinstance(content, dict) or "kind" not in content:
        raise UsageError(f"{where}: a patch without a kind and a name needs a target")
    return {"kind": content["kind"], "name": mapping(content.get("metadata")).get("name", "")}


def _fits(made: Node, target: Node) -> bool:
    """Whether a target means this object; its values are whole regular expressions, as in kustomize."""
    facts = {"kind": made["kind"], "name": made["metadata"]["name"]}
    group, _, version = str(made["apiVersion"]).rpartition("/")
    facts |= {"group": group, "version": version}
    return all(re.fullmatch(str(target[name]), str(facts[name])) for name in facts if name in target)


def _words(target: Node) -> str:
    return " ".join(f"{name} {value}" for name, value in target.items())


def _edited(made: Any, patch: Any, where: str) -> Any:
    if isinstance(patch, list):
        for position, operation in enumerate(patch):
            made = _operated(made, mapping(operation), f"{where}: operation {position + 1}")
        return made
    if not str(made["apiVersion"]).startswith(CUSTOM) and _has_keyed_lists(patch):
        raise UsageError(f"{where}: kustomize merges the lists of a {made['kind']} by keys; use JSON patch operations")
    return merged(made, patch)


def _has_keyed_lists(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(each, dict) for each in value)
    return isinstance(value, dict) and any(map(_has_keyed_lists, value.values()))


def merged(target: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386) applied: mappings are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


def _operated(made: Any, operation: Node, where: str) -> Any:
    """One operation of a JSON patch (RFC 6902) applied to a copy. UsageError where the path is not there."""
    made = copy.deepcopy(made)
    what, path = operation.get("op"), str(operation.get("path", ""))
    *outer, last = [each.replace("~1", "/").replace("~0", "~") for each in path.split("/")[1:]] or [""]
    try:
        place = made
        for step in outer:
            place = place[int(step) if isinstance(place, list) else step]
        key: Any = last
        if isinstance(place, list):
            key = len(place) if last == "-" and what == "add" else int(last)
        if what == "add" and isinstance(place, list):
            place.insert(key, operation["value"])
        elif what == "add":
            place[key] = operation["value"]
        elif what == "replace":
            place[key]  # it must be there
            place[key] = operation["value"]
        elif what == "remove":
            del place[key]
        elif what == "test" and place[key] == operation["value"]:
            pass
        else:
            raise UsageError(f"{where}: {what} {path}: not an operation that holds here (add, replace, remove, test)")
    except (KeyError, IndexError, ValueError, TypeError):
        raise UsageError(f"{where}: {what} {path}: there is no such path, or the value is missing") from None
    return made


def _rename_images(value: Any, image: Node) -> None:
    """Replaces the name or tag of an image in all lists of containers, wherever in the object they are."""
    if isinstance(value, list):
        for each in value:
            _rename_images(each, image)
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if name in CONTAINERS:
            for container in map(mapping, items(inner)):
                if isinstance(container, dict) and "image" in container:
                    container["image"] = _renamed(str(container["image"]), image)
        _rename_images(inner, image)


def _renamed(written: str, image: Node) -> str:
    name, tag = split_image(written)
    if name != image.get("name"):
        return written
    if "digest" in image:
        return f"{image.get('newName', name)}@{image['digest']}"
    tag = str(image.get("newTag", tag))
    return f"{image.get('newName', name)}{':' if tag else ''}{tag}"


def split_image(written: str) -> tuple[str, str]:
    """The name and the tag of an image; the tag is empty where there is none. A digest is left out."""
    written = written.partition("@")[0]
    folder, slash, last = written.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{folder}{slash}{name}", tag
