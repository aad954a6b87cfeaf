"""Declarations (frozen pydantic dataclasses) from plain values and back, with errors that name the field."""

import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

import fsspec
import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json, to_jsonable_python

from jobs.engine.terminal.errors import UsageError, refuse
from jobs.engine.terminal.modules import nearest
from jobs.engine.terminal.place_errors import naming
from jobs.engine.terminal.strict_yaml import StrictLoader

T = TypeVar("T")
UNKNOWN = "unexpected_keyword_argument"
"""How pydantic names the error of a field that a dataclass does not have."""


class UnknownField(UsageError):
    """A field that a declaration does not have."""


def plain(declaration: Any) -> Any:
    """The fields of a declaration as values that YAML and JSON hold, nested as the declaration is."""
    return to_jsonable_python(declaration)


def yaml_in(file: str | Path, named: str) -> Any:
    """The content of a YAML file at a path or URL. UsageError where it cannot be read.

    named: what the message calls the file.
    """
    try:
        with naming(str(file)), fsspec.open(str(file), "rt", encoding="utf-8") as opened:
            return yaml.load(cast(TextIO, opened), StrictLoader)
    except (OSError, ImportError) as error:
        raise UsageError(f"{named}: {getattr(error, 'strerror', None) or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{named} is not YAML: {' '.join(str(error).split())}") from None


def validated(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """A declaration of the class with these values, which may be nested; `prefix` precedes the fields in messages.

    The values are validated as JSON is: strictly, but with lists for tuples and mappings for nested declarations.
    UsageError names each field that is wrong.
    """
    try:
        return TypeAdapter(cls).validate_json(to_json(values))
    except ValidationError as error:
        refuse(UsageError(_message(cls, prefix, each)) for each in error.errors())
        raise
    except ValueError as error:  # half a surrogate pair, or a YAML alias that contains itself
        raise UsageError(f"the fields of {cls.__name__} cannot be written as JSON: {error}") from None


def _message(cls: type, prefix: str, found: Mapping[str, Any]) -> str:
    """One of pydantic's errors, with the dotted name of its field."""
    where = prefix + ".".join(map(str, found["loc"]))
    if found["type"] == UNKNOWN:
        *path, name = map(str, found["loc"])
        return str(_unknown(_declaration_at(cls, path), name, where))
    return f"{where}: {found['msg'].removeprefix('Value error, ')}".removeprefix(": ")


def field_type(cls: type, path: str) -> Any:
    """The annotated type of a field, given by its dotted path.

    UnknownField, with the nearest name, where a declaration has no such field; UsageError for a field of a plain value.
    """
    *outer, name = path.split(".")
    for each in outer:
        inner = declaration_in(_hint(cls, each, path))
        if inner is None:
            raise UsageError(f"unknown field {path!r}: {each} has no fields of its own")
        cls = inner
    return _hint(cls, name, path)


def _hint(cls: type, name: str, path: str) -> Any:
    hints = typing.get_type_hints(cls, include_extras=True)
    if name not in field_names(cls):
        raise _unknown(cls, name, path)
    return hints[name]


def _declaration_at(cls: type, path: Iterable[str]) -> type:
    """The declaration at a path of field names. A name that is no field is a key of a mapping, and is passed over."""
    for name in path:
        if name in field_names(cls):
            cls = declaration_in(_hint(cls, name, name)) or cls
    return cls


def declaration_in(annotation: Any) -> type | None:
    """The declaration that a field may hold, such as LoRA in `LoRA | None`; None for a field of plain values."""
    kinds = (annotation, *typing.get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and field_names(kind)), None)


def field_names(cls: type) -> tuple[str, ...]:
    """The names of the fields of a declaration; empty for any other class."""
    return tuple(getattr(cls, "__pydantic_fields__", ()))


def _unknown(cls: type, name: str, path: str) -> UnknownField:
    names = field_names(cls)
    if "." in name:  # in YAML; of field=value, a name is one of the words between the dots
        nested = f"{name.replace('.', ': {')}: ...{'}' * name.count('.')}"
        return UnknownField(f"unknown field {path!r}: a field of a field is written nested: {nested}")
    return UnknownField(f"unknown field {path!r}{nearest(name, names) or '.'} {cls.__name__} has: {', '.join(names)}")
