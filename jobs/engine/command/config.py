"""From names and text to a recipe: dataclass defaults <- the published setting <- YAML <- field=value."""

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from jobs.engine.ingest import IngestSettings, settings_of
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.record.declarations import UnknownField, annotation, as_tuple, declared, plain, yaml_in
from jobs.engine.terminal.errors import UsageError, together
from jobs.engine.terminal.modules import nearest, recipe_names


@dataclass(frozen=True)
class Request:
    """What a command or a configuration file asks for."""

    recipe: str | None = None
    inputs: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    """Recipe fields, nested as the recipe is."""
    as_published: bool = False
    reading: Mapping[str, Any] = field(default_factory=dict)
    """How raw files are read, where that was said (jobs/engine/terminal/arguments.py)."""


def recipe_class(name: str) -> type[Recipe]:
    """The one Recipe class of jobs/recipes/<name>.py; UsageError with the nearest name where there is none."""
    names = recipe_names()
    if name not in names:
        raise UsageError(f"no recipe {name!r}{nearest(name, names) or '.'} There are: {', '.join(names)}")
    module = importlib.import_module(f"jobs.recipes.{name}")
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Recipe) and value.__module__ == module.__name__
    ]
    if len(defined) != 1:
        raise UsageError(f"{module.__name__} defines {len(defined)} Recipe classes; it must define one")
    return defined[0]


def read_request(file: str) -> Request:
    """The request in a YAML file: the fields of a Request as keys, or a manifest that holds them in `run`."""
    content = yaml_in(file, f"--config {file}")
    if isinstance(content, dict) and "winnow_manifest" in content:
        content = content.get("run")
    if not isinstance(content, dict):
        raise UsageError(f"--config {file} holds no mapping with recipe, inputs and fields")
    known = [each.name for each in fields(Request)]
    for key in content:
        if key not in known:
            raise UsageError(
                f"--config {file}: unknown key {key!r}{nearest(key, known)}; the keys are {', '.join(known)}"
            )
    try:
        given = {key: value for key, value in content.items() if value is not None}
        return TypeAdapter(Request).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--config {file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def build(name: str, request: Request, overrides: Iterable[str]) -> Recipe:
    """The recipe with its fields set, strictly validated; UsageError names the field that is wrong."""
    cls = recipe_class(name)
    chosen: dict[str, Any] = {}
    if request.as_published:
        for path, value in cls.published.items():
            _set(chosen, path.split("."), value)
    _merge(chosen, dict(request.fields))
    return configured(cls, chosen, overrides)


def reading(request: Request, recipe: Recipe) -> IngestSettings:
    """How the request's raw files are read; whether answers are needed follows from the recipe, unless it is said."""
    return settings_of({"answers": recipe.answers(), **request.reading})


def configured(cls: type, chosen: dict[str, Any], overrides: Iterable[str]) -> Any:
    """A declaration of the class with these fields and then the field=value ones; UsageError names a wrong one."""
    words = [partial(_override, cls, chosen, override) for override in overrides]
    return together([*words, lambda: declared(cls, _completed(cls, chosen), "")])[-1]


def _override(cls: type, chosen: dict[str, Any], override: str) -> None:
    path, _, text = override.partition("=")
    try:
        value = _parsed(cls, path, text)
    except UnknownField as error:
        raise UsageError(f"{error}. Nor is there a file {override}" if "/" in text else str(error)) from None
    _set(chosen, path.split("."), value)


def _parsed(cls: type, path: str, text: str) -> Any:
    """The text of an override as the field's type wants it: as YAML reads it (none is null), or as it stands."""
    kind = annotation(cls, path.split("."), path)
    adapter = TypeAdapter(kind)
    try:
        value = as_tuple(kind, None if text.lower() == "none" else yaml.safe_load(text))
        if value == text.strip() or _of_another_notation(value, text):
            value = text  # blanks at the ends may matter to a template
        if not is_dataclass(kind):
            adapter.validate_python(value, strict=True)
        return value
    except (ValidationError, yaml.YAMLError):
        pass
    try:
        return adapter.validate_python(text, strict=False)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        if message.startswith("Input") and re.fullmatch(r"[+-]?\d+(,\d+)+", text.strip()):
            message += "; write numbers without a comma, as in 4.5"
        raise UsageError(f"{path}={text}: {message}") from None


def _of_another_notation(value: Any, text: str) -> bool:
    """Whether YAML reads digits as another number than people do: 010 as 8, 1:30 as 90."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(text) != value
    except ValueError:
        return True


def _completed(cls: type, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen fields with, for a nested declaration, the defaults of this recipe and not of its class."""
    complete = dict(chosen)
    for each in fields(cls):
        value = complete.get(each.name)
        default = each.default if each.default is not MISSING else None
        if isinstance(value, Mapping) and is_dataclass(default) and not isinstance(default, type):
            merged = plain(default)
            _merge(merged, dict(value))
            complete[each.name] = merged
    return complete


def _merge(base: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _set(nested: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        nested = nested.setdefault(name, {})
    nested[path[-1]] = value
