"""From names and text to a recipe: dataclass defaults <- the published setting <- YAML <- field=value."""

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date
from functools import partial
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from jobs.engine.ingest import IngestSettings, settings_of
from jobs.engine.ingest.checked import refuse_other_sources
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.record.declarations import (
    UnknownField,
    declaration_in,
    field_names,
    field_type,
    plain,
    validated,
    yaml_in,
)
from jobs.engine.samples.pool_folder import is_pool, refuse_reading_again
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError, together
from jobs.engine.terminal.modules import nearest, refuse_unknown_recipe

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What a command line or a configuration file asks for."""

    recipe: str | None = None
    inputs: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields of the recipe, nested as the recipe is."""
    as_published: bool = False
    reading: Mapping[str, Any] = field(default_factory=dict)
    """The settings of an ingest that were given (jobs/engine/terminal/arguments.py)."""


@dataclass(frozen=True)
class Asked:
    """A recipe, what to select from, and where to write."""

    request: Request
    recipe: Recipe
    out: Folder

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.request.recipe or ""

    def run(self) -> dict[str, Any]:
        """The entry `run` of the manifest: what was asked for. It is equal for equal runs."""
        return {
            "recipe": self.name,
            "inputs": list(self.request.inputs),
            "as_published": self.request.as_published,
            "reading": dict(self.request.reading),
            "fields": plain(self.recipe),
        }


def recipe_class(name: str) -> type[Recipe]:
    """The one Recipe class that is defined in jobs/recipes/<name>.py.

    The module is imported by its name, so a new recipe is one new file and no list names it. Recipes import the
    engine, and this import goes the other way: it happens at call time, when no module is half imported.
    UsageError, with the nearest name, where there is no such file.
    """
    refuse_unknown_recipe(name)
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
    """Returns the request in a YAML file, whose keys are the fields of a Request, or in the manifest of a run.

    UsageError if the file cannot be read, or has an unknown key or a wrong value.
    """
    content = yaml_in(file, f"--config {file}")
    if isinstance(content, dict) and "winnow_manifest" in content:
        content = content.get("run")
    if not isinstance(content, dict):
        raise UsageError(f"--config {file} is not a mapping with the keys recipe, inputs and fields")
    known = [each.name for each in fields(Request)]
    for key in content:
        if key not in known:
            raise UsageError(
                f"--config {file}: unknown key {key!r}{nearest(key, known)}; the keys are {', '.join(known)}"
            )
    if isinstance(inputs := content.get("inputs"), str):
        raise UsageError(f"--config {file}: inputs is a text; write a list: inputs: [{inputs}]")
    try:
        given = {key: value for key, value in content.items() if value is not None}
        return TypeAdapter(Request).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--config {file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def build(name: str, request: Request, overrides: Iterable[str]) -> Recipe:
    """Returns the recipe with the fields of the request and of the overrides. UsageError names each wrong field."""
    cls = recipe_class(name)
    chosen: dict[str, Any] = {}
    if request.as_published:
        for path, value in cls.published.items():
            _set(chosen, path.split("."), value)
    return configured(cls, _merged(chosen, request.fields), overrides)


def reading(request: Request, recipe: Recipe) -> IngestSettings:
    """Returns the settings of the request's ingest. Unless given, `answers` follows from the recipe.

    UsageError names each wrong one.
    """
    settings = settings_of({"answers": recipe.answers(), **request.reading})
    refuse_reading_again(request.inputs, settings)
    if not any(map(is_pool, request.inputs)):
        refuse_other_sources(request.inputs, settings)
    return settings


def configured(cls: type[T], chosen: Mapping[str, Any], overrides: Iterable[str]) -> T:
    """Returns a declaration with the chosen fields. The field=value overrides replace chosen ones.

    UsageError names each wrong field.
    """
    given = dict(chosen)
    words = [partial(_override, cls, given, override) for override in overrides]
    return together([*words, lambda: validated(cls, _completed(cls, given))])[-1]


def _override(cls: type, given: dict[str, Any], override: str) -> None:
    path, _, text = override.partition("=")
    try:
        value = _parsed(cls, path, text)
    except UnknownField as error:
        raise UsageError(f"{error}. Nor is there a file {override}" if "/" in text else str(error)) from None
    _set(given, path.split("."), value)


def _parsed(cls: type, path: str, text: str) -> Any:
    """Returns the value of an override: what YAML reads in the text, if it has the field's type, or else the text."""
    kind = field_type(cls, path)
    adapter = TypeAdapter(kind)
    inner = declaration_in(kind)
    try:
        value = _read(text)
        if not (isinstance(value, dict) and inner):  # validated with the defaults that it leaves out
            adapter.validate_json(to_json(value), strict=True)
        return value
    except (ValueError, yaml.YAMLError):
        pass
    try:
        return adapter.validate_python(text, strict=False)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        if message.startswith("Input") and re.fullmatch(r"[+-]?\d+(,\d+)+", text.strip()):
            message += "; write numbers without a comma, as in 4.5"
        if inner:
            first, *others = field_names(inner)
            also = f" ({', '.join(others)} likewise)" if others else ""
            message = f"it has fields of its own: write {path}.{first}=VALUE{also}"
        raise UsageError(f"{path}={text}: {message}") from None


def _read(text: str) -> Any:
    """Returns the value that YAML reads in a text; the text itself for a date, or where YAML changes a number."""
    value = None if text.lower() == "none" else yaml.safe_load(text)
    kept = isinstance(value, date) or value == text.strip()  # blanks at the ends may matter to a template
    return text if kept or _of_another_notation(value, text) else value


def _of_another_notation(value: Any, text: str) -> bool:
    """Whether YAML reads digits as another number than they say: 010 as 8, 1:30 as 90."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(text) != value
    except ValueError:
        return True


def _completed(cls: Any, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the chosen fields; a nested declaration is completed by the defaults of this recipe, not of its class."""
    complete = dict(chosen)
    for each in fields(cls):
        value = complete.get(each.name)
        if isinstance(value, Mapping) and is_dataclass(each.default):
            complete[each.name] = _merged(plain(each.default), value)
    return complete


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the base updated by more. Mappings in both are merged in turn."""
    merged = dict(base)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _set(nested: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        nested = nested.setdefault(name, {})
    nested[path[-1]] = value
