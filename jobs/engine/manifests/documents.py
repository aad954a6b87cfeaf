"""The documents in manifests, and what is found in them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.strict_yaml import StrictLoader

KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""The names that kustomize gives to the file that describes a folder."""
SUFFIXES = (".yaml", ".yml", ".json")

Node = Mapping[str, Any]


class Finding(NamedTuple):
    """Something that is wrong in a document."""

    path: str
    """Where: the names of fields from the root, such as `spec.workerGroupSpecs[0].minReplicas`."""
    said: str


@dataclass(frozen=True)
class Document:
    """One document of a manifest."""

    source: str
    """What it is called in messages: its file, or the folder that was rendered."""
    content: Node

    @property
    def kind(self) -> str:
        """The kind of the object, such as `RayJob`."""
        return str(self.content.get("kind", ""))

    @property
    def name(self) -> str:
        """The name of the object; empty if it has none."""
        return str(mapping(self.content.get("metadata")).get("name", ""))


def parsed(text: str, source: str) -> list[Any]:
    """The documents in a text, without empty ones. UsageError, with the line, where it is not YAML."""
    try:
        return [each for each in yaml.load_all(text, Loader=StrictLoader) if each is not None]
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}") from None


def content_of(file: Path) -> str:
    """The text of a file. UsageError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not text in UTF-8") from None


def documents_in(file: Path) -> list[Document]:
    """The documents in a file. UsageError where it cannot be read, or a document is not a mapping with a kind."""
    found = []
    for position, content in enumerate(parsed(content_of(file), str(file))):
        if not of_kubernetes(content) or not isinstance(content.get("kind"), str):
            raise UsageError(f"{file}: document {position + 1} is not an object of Kubernetes: it has no kind")
        found.append(Document(str(file), content))
    if not found:
        raise UsageError(f"{file} holds no document")
    return found


def of_kubernetes(content: Any) -> bool:
    """Whether a document is meant as an object of Kubernetes, and not as other YAML that lies beside it."""
    return isinstance(content, dict) and ("apiVersion" in content or "kind" in content)


def mapping(value: Any) -> Node:
    """The value if it is a mapping, or else an empty one; the schema says what is wrong with it."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a list, or else an empty one."""
    return value if isinstance(value, list) else []


def numbered(value: Any, path: str) -> Iterator[tuple[Node, str]]:
    """Each item of a list of mappings, with its path."""
    for position, each in enumerate(items(value)):
        yield mapping(each), f"{path}[{position}]"
