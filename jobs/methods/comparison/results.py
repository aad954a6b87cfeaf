"""The runs of a comparison's recipes, and what each has left in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from jobs.engine.command.config import Asked
from jobs.engine.command.taken import manifest_in
from jobs.engine.curation.curating import curate
from jobs.engine.execute.session import Session
from jobs.engine.outcome.ledger import KEPT, ledger_in
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import NothingSelected, first_line
from jobs.engine.terminal.screen import say
from jobs.methods.comparison.contenders import Contender


@dataclass(frozen=True)
class Result:
    """A selection, and the record of how it came about."""

    kept: np.ndarray
    """(k,) int64 ids, best first, in the pool of `folder`."""
    folder: str
    """The pool that the selection is from: a recipe may have grown the pool of the inputs."""
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, out: Folder) -> "Result":
        """The result of a finished run."""
        manifest = manifest_in(out)
        kept = ledger_in(out).to_table(["id", "rank"], filter=pc.field("state") == KEPT).sort_by("rank")
        return cls(kept["id"].to_numpy().astype(np.int64), manifest["selected_from"]["folder"], manifest)


@dataclass(frozen=True)
class Place:
    """What every recipe of a comparison shares."""

    out: Folder
    session: Session
    """The session of the comparison; each recipe has one of its own, with the same store."""
    inputs: tuple[str, ...]


def _curated(each: Contender, recipe: Recipe, place: Place) -> Result:
    """The selection of a contender, from its folder or computed now. Any error of the recipe is raised.

    NothingSelected is raised where the recipe ended before a decision; one that decided to keep none has a result.
    """
    out = place.out.inner(each.name)
    limits = {"max_errors": recipe.max_errors, "max_unreadable": recipe.max_unreadable}
    session = replace(place.session, log=[], **limits)
    try:
        curate(Asked(each.request, recipe, out), session)
    except NothingSelected as error:
        if not manifest_in(out).get("finished"):
            raise
        say(f"{each.name}: {error}")
    return Result.read(out)


def all_curated(
    taking_part: Sequence[Contender], recipes: Mapping[str, Recipe], place: Place
) -> tuple[dict[str, Result], dict[str, str]]:
    """The selections by name, and why each of the others has none. One that fails does not end those after it."""
    results, failed = {}, {}
    for each in taking_part:
        if each.name not in recipes:
            continue
        say(f"--- {each.name}")
        try:
            results[each.name] = _curated(each, recipes[each.name], place)
        except Exception as error:  # noqa: BLE001 - whatever fails in one recipe must not cost the others' results
            failed[each.name] = first_line(error)
            say(f"{each.name} failed: {failed[each.name]}")
    return results, failed


def overlap(first: Result, second: Result, samples: int) -> float:
    """The samples that both keep, as a share of those that either keeps (Jaccard); 0 where neither keeps any.

    samples: those of the inputs' pool. A sample that a recipe made is in no selection from another pool.
    """
    ids = [each.kept for each in (first, second)]
    if first.folder != second.folder:
        ids = [each[each < samples] for each in ids]
    both = len(np.intersect1d(*ids, assume_unique=True))
    either = len(first.kept) + len(second.kept) - both
    return both / either if either else 0.0
