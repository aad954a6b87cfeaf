"""Translates between the ids of samples, which recipes use, and the positions of rows, which kernels use.

The annotations of a kernel mark its positions (operators/kernels/rows.py). Everything else is passed unchanged.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np

from operators.kernels.rows import ROW, ROWS


def in_positions(kernel: Callable[..., Any], params: Mapping[str, Any], order: np.ndarray) -> dict[str, Any]:
    """The parameters, with ids replaced by positions where the kernel declares positions.

    order: the ids of the rows, (n,) int64. ValueError for an id that is not in `order`.
    """
    declared = inspect.signature(kernel).parameters
    given = dict(params)
    for name, value in params.items():
        if value is not None and name in declared and any(_kinds(declared[name].annotation)):
            given[name] = _positions(value, order)
    return given


def _positions(ids: Any, order: np.ndarray) -> Any:
    ascending = bool((order[1:] > order[:-1]).all())  # as of all that is no ranking
    by_id = None if ascending else np.argsort(order)
    wanted = np.asarray(ids, np.int64)
    places = np.minimum(np.searchsorted(order if by_id is None else order[by_id], wanted), max(len(order) - 1, 0))
    found = by_id[places] if by_id is not None and len(order) else places
    if wanted.size and (not len(order) or (order[found] != wanted).any()):
        raise ValueError("a kernel got the id of a sample that is not among its rows")
    return int(found) if found.ndim == 0 else found


def translated(kernel: Callable[..., Any], result: Any, each: Callable[[Any, str], Any]) -> Any:
    """The result of a kernel, with each position (ROW) and array of positions (ROWS) replaced by each(value, kind)."""
    return _translated(result, inspect.signature(kernel).return_annotation, each)


def _translated(result: Any, annotation: Any, each: Callable[[Any, str], Any]) -> Any:
    for kind in _kinds(annotation):
        return each(result, kind)
    if get_origin(annotation) is tuple:
        return tuple(_translated(*pair, each) for pair in zip(result, get_args(annotation), strict=True))
    spoken = {name: each(getattr(result, name), kind) for name, kind in _positional(result)}
    if not spoken:
        return result
    if is_dataclass(result) and not isinstance(result, type):
        return replace(result, **spoken)
    return result._replace(**spoken)  # type: ignore[union-attr]


def _positional(result: Any) -> Iterator[tuple[str, str]]:
    """The names and kinds of the fields of a dataclass or a named tuple that are positions."""
    if is_dataclass(result) and not isinstance(result, type):
        declared = {each.name: each.type for each in fields(result)}
    elif hasattr(result, "_fields"):
        declared = type(result).__annotations__
    else:
        return
    for name, annotation in declared.items():
        for kind in _kinds(annotation):
            yield name, kind


def _kinds(annotation: Any) -> Iterator[str]:
    """ROW or ROWS where an annotation, or a member of a union in it, declares positions; nothing otherwise."""
    if get_origin(annotation) is Annotated:
        yield from (kind for kind in annotation.__metadata__ if kind in (ROW, ROWS))
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _kinds(member)
