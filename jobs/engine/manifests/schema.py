"""Documents against the schemas of custom resources, as the API server checks them: defaults first, then fields.

    schemas = schemas_in(Path("schemas"))
    schemas["RayJob"].findings(document)

A schema is a CustomResourceDefinition in a YAML file. The rules that it holds in CEL are not evaluated here; those of
KubeRay are in job_rules.py.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from jobs.engine.manifests.documents import SUFFIXES, Document, Finding, content_of, mapping
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.modules import nearest

SHIPPED = Path(__file__).parent / "schemas"
"""KubeRay's definitions (Apache-2.0) without descriptions and without the fields of pods."""

OPEN = "x-kubernetes-preserve-unknown-fields"
EITHER = "x-kubernetes-int-or-string"
METADATA = (
    *("annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers"),
    *("generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences"),
    *("resourceVersion", "selfLink", "uid"),
)
"""The fields of the metadata of every object, which a definition leaves to the API server."""

# PyYAML's parser in C is ten times as fast on a definition of a megabyte; not every build has it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Schema:
    """The schema of one kind."""

    kind: str
    group: str
    versions: dict[str, Any]
    """The structural schema of each served version, as the definition has it."""

    @cached_property
    def whole(self) -> bool:
        """Whether it describes the pods too."""
        return not any(_leaves_pods_open(each) for each in self.versions.values())

    @cached_property
    def _validators(self) -> dict[str, Draft7Validator]:
        return {version: Draft7Validator(_strict(schema, root=True)) for version, schema in self.versions.items()}

    def findings(self, document: Document) -> Iterator[Finding]:
        """Each field that is unknown, missing or has a wrong value."""
        stated = str(document.content.get("apiVersion", ""))
        versions = [f"{self.group}/{each}" for each in self.versions]
        if stated not in versions:
            yield Finding("apiVersion", f"{stated or 'none'} is not one of {', '.join(versions)}")
            return
        version = stated.rpartition("/")[2]
        content = defaulted(copy.deepcopy(dict(document.content)), self.versions[version])
        for error in sorted(self._validators[version].iter_errors(content), key=lambda each: str(each.absolute_path)):
            yield from _said(error)


def schemas_in(folder: Path) -> dict[str, Schema]:
    """The schemas in the YAML files of a folder, by kind.

    UsageError where there is no such folder, or it holds no CustomResourceDefinition.
    """
    if not folder.is_dir():
        raise UsageError(f"--schemas {folder}: there is no such folder")
    found = {}
    for file in sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES):
        try:
            documents = list(yaml.load_all(content_of(file), Loader=LOADER))
        except yaml.YAMLError as error:
            raise UsageError(f"--schemas {folder}: {file.name} is not YAML: {' '.join(str(error).split())}") from None
        for content in map(mapping, documents):
            if content.get("kind") == "CustomResourceDefinition":
                schema = _schema(content)
                found[schema.kind] = schema
    if not found:
        raise UsageError(
            f"--schemas {folder}: no file there holds a CustomResourceDefinition; KubeRay's are in the folder "
            "ray-operator/config/crd/bases of its repository"
        )
    return found


def _schema(definition: Any) -> Schema:
    spec = definition["spec"]
    versions = {
        each["name"]: each["schema"]["openAPIV3Schema"] for each in spec["versions"] if each.get("served", True)
    }
    return Schema(spec["names"]["kind"], spec["group"], versions)


def defaulted(value: Any, schema: Any) -> Any:
    """The value with the defaults of the schema filled in, in place, as the API server does before it validates."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                value[name] = defaulted(value[name], inner)
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            for name in value.keys() - schema.get("properties", {}).keys():
                value[name] = defaulted(value[name], others)
    if isinstance(value, list) and "items" in schema:
        return [defaulted(each, schema["items"]) for each in value]
    return value


def _strict(schema: Any, root: bool = False) -> Any:
    """A structural schema as one of JSON Schema that allows no unknown field, except where the definition does."""
    if schema.get(EITHER):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}], **_kept(schema, "pattern")}
    made = _kept(schema, "type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "required")
    made |= _kept(schema, "minItems", "maxItems")
    if schema.get("nullable"):
        made["type"] = [made["type"], "null"]
    if "properties" in schema:
        made["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        if not schema.get(OPEN) and "additionalProperties" not in schema:
            made["additionalProperties"] = False
    if root:
        names = {name: {} for name in METADATA}
        made["properties"]["metadata"] = {"type": "object", "properties": names, "additionalProperties": False}
        made["required"] = sorted({*made.get("required", ()), "metadata"})
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = _strict(schema["items"])
    return made


def _kept(schema: Any, *names: str) -> dict[str, Any]:
    return {name: schema[name] for name in names if name in schema}


def _leaves_pods_open(schema: Any) -> bool:
    """Whether somewhere in the schema a template of pods takes any field."""
    inner = schema.get("properties", {})
    if inner.get("template", {}).get(OPEN):
        return True
    return any(map(_leaves_pods_open, [*inner.values(), *([schema["items"]] if "items" in schema else [])]))


def path_of(parts: Any) -> str:
    """The parts of a path in a document as it is written in messages: `spec.workerGroupSpecs[0].groupName`."""
    written = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in parts)
    return written.removeprefix(".")


def _said(error: ValidationError) -> Iterator[Finding]:
    """What one error of the validator means, in words."""
    parts, schema, wanted = list(error.absolute_path), mapping(error.schema), cast(Any, error.validator_value)
    instance = cast(Any, error.instance)
    match error.validator:
        case "additionalProperties":
            known = schema.get("properties", {})
            for name in sorted(set(instance) - set(known), key=str):
                yield Finding(path_of([*parts, name]), f"there is no such field{nearest(name, known)}")
        case "required":
            for name in wanted:
                if name not in instance:
                    yield Finding(path_of([*parts, name]), "the field is missing")
        case "type" | "anyOf":
            type_ = wanted if error.validator == "type" else "integer or string"
            yield Finding(path_of(parts), f"{_short(instance)} is not of the type {type_}")
        case "enum":
            near = nearest(str(instance), map(str, wanted))
            yield Finding(path_of(parts), f"{_short(instance)} is not one of {', '.join(map(str, wanted))}{near}")
        case _:
            yield Finding(path_of(parts), error.message)


def _short(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
