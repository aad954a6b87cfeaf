"""The fields of a recipe as a table: names to type, values, and what the docstrings of the fields say."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import pairwise
from typing import Any

from pydantic_core import PydanticUndefined

from jobs.engine.recipe.recipe import Recipe
from jobs.engine.record.declarations import declaration_in, field_type, plain
from jobs.engine.terminal.modules import paper
from jobs.engine.terminal.screen import say, show_texts

Row = tuple[str, str, str]
"""The dotted name of a field, its value as it is typed, and its docstring."""


def show_fields(name: str, recipe: Recipe) -> None:
    """Prints the paper of a recipe and its fields, those of each nested declaration after the recipe's own."""
    say(paper(name))
    say(f"\nThe fields of {name}. FIELD=VALUE sets one; those that were not set have their defaults.")
    show_texts(["field", "value", "meaning"], groups(recipe))


def groups(recipe: Recipe) -> Iterator[list[Row]]:
    """The rows of the recipe's own fields, and then those of each declaration among them with all that it holds."""
    cls: Any = type(recipe)
    yield list(_own(cls, recipe, ""))
    for name in cls.__pydantic_fields__:
        if rows := list(_nested(cls, recipe, name, "")):
            yield rows


def _own(cls: Any, declaration: Any, prefix: str) -> Iterator[Row]:
    """A row per field of a declaration of this class; with None, the defaults of the class."""
    texts = docstrings(cls)
    for name in cls.__pydantic_fields__:
        yield f"{prefix}{name}", _typed(_value(cls, declaration, name)), texts.get(name, "")


def _nested(cls: Any, declaration: Any, name: str, prefix: str) -> Iterator[Row]:
    """The rows of the declaration that a field holds or may hold; none for a field of a plain value."""
    value = _value(cls, declaration, name)
    inner: Any = type(value) if is_dataclass(value) else declaration_in(field_type(cls, name))
    if inner is None:
        return
    held = value if is_dataclass(value) else None
    for row in _own(inner, held, f"{prefix}{name}."):
        yield row
        yield from _nested(inner, held, row[0].rpartition(".")[2], f"{prefix}{name}.")


def _value(cls: Any, declaration: Any, name: str) -> Any:
    if declaration is not None:
        return getattr(declaration, name)
    return cls.__pydantic_fields__[name].get_default(call_default_factory=True)


def _typed(value: Any) -> str:
    """A value as it is typed after `field=`; the name of its class for a declaration."""
    if value is None:
        return "none"
    if value is PydanticUndefined:
        return "(no default)"
    if is_dataclass(value):
        return type(value).__name__
    if isinstance(value, str) and value and value == " ".join(value.split()):
        return value
    return json.dumps(plain(value), ensure_ascii=False)


def docstrings(cls: type) -> dict[str, str]:
    """The docstring of each field that has one: the string under it in the class, or in the class it is inherited from.

    They are read from the source, since Python keeps none at run time.
    """
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if "__pydantic_fields__" in vars(each):
            found |= _written(each)
    return found


def _written(cls: type) -> dict[str, str]:
    """The docstrings under the fields in the body of a class, each on one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    found = {}
    for field, text in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                found[name] = " ".join(said.split())
    return found
