"""Declarations (frozen dataclasses of fields) from plain values and back, with errors that name the field."""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jobs.engine.terminal.errors import UsageError, refuse
from jobs.engine.terminal.modules import nearest


class UnknownField(UsageError):
    """A field that a declaration does not have."""


def plain(value: Any) -> Any:
    """A recipe's fields as plain values that YAML holds and `build` reads again."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def yaml_in(file: str | Path, named: str) -> Any:
    """What a YAML file holds; UsageError, with the name by which people know the file, where it cannot be read."""
    try:
        return yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{named}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{named} is not YAML: {error}") from None


def declared(cls: type, chosen: Mapping[str, Any], prefix: str) -> Any:
    """The declaration with these fields, nested ones first; UsageError names the field that is wrong."""
    values: dict[str, Any] = {}
    for name, value in chosen.items():
        kind = annotation(cls, [name], prefix + name)
        inner = declaration_in(kind)
        nested = inner if isinstance(value, Mapping) else None
        values[name] = declared(nested, value, f"{prefix}{name}.") if nested else as_tuple(kind, value)
    try:
        return cls(**values)
    except ValidationError as error:
        refuse(UsageError(_worded(prefix, each)) for each in error.errors())
        raise


def _worded(prefix: str, found: Mapping[str, Any]) -> str:
    """What pydantic found wrong with a field."""
    where = (prefix + ".".join(str(part) for part in found["loc"])).removesuffix(".")
    return f"{where}: {found['msg'].removeprefix('Value error, ')}".removeprefix(": ")


def declaration_in(annotation: Any) -> type | None:
    """The dataclass that a field holds, or may hold; None for a plain value."""
    optional = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    kinds = typing.get_args(annotation) if optional else (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)


def as_tuple(kind: Any, value: Any) -> Any:
    """The value, a list as the tuple that the type asks for: text and YAML know lists only."""
    if not isinstance(value, list):
        return value
    plain_kind = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
    optional = typing.get_origin(plain_kind) in (types.UnionType, typing.Union)
    kinds = typing.get_args(plain_kind) if optional else (plain_kind,)
    return tuple(value) if any(typing.get_origin(each) is tuple for each in kinds) else value


def annotation(cls: type, path: list[str], whole: str) -> Any:
    """The type of a field by its dotted path; UsageError with the nearest name for one that does not exist."""
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [each.name for each in fields(cls)]
    head, *rest = path
    if head not in names:
        raise UnknownField(
            f"unknown field {whole!r}{nearest(head, names) or '.'} {cls.__name__} has: {', '.join(names)}"
        )
    if not rest:
        return hints[head]
    inner = declaration_in(hints[head])
    if inner is None:
        raise UsageError(f"unknown field {whole!r}: {head} has no fields of its own")
    return annotation(inner, rest, whole)
