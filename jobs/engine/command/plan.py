"""What a run would compute, without computing it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jobs.engine.command.config import Request, reading
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.recipe.steps import Later, Reads
from jobs.engine.samples.pool_folder import identity, known_facts
from jobs.engine.store.feature import MISSING
from jobs.engine.store.store import Store
from jobs.engine.terminal.screen import say, show
from operators.base import Operator
from operators.training.finetune import Finetune


def show_plan(request: Request, recipe: Recipe, store: Store, profile: Profile) -> None:
    """Prints the steps of a recipe, the stored values per column, and an estimate of the time for the rest."""
    facts = known_facts(request.inputs, store, reading(request, recipe))
    say(f"{request.recipe}: {', '.join(request.inputs)}, budget {recipe.budget}")
    say(f"pool: {facts['samples']:,} samples" if facts else "pool: not ingested yet, so the samples are not counted")
    limits = {name: value for name, value in vars(recipe).items() if name.startswith("max_")}
    say(f"the run fails above: {', '.join(f'{name} {value:g}' for name, value in limits.items())}")
    steps = recipe.steps()
    rows = [_row(name, step, store, facts) for name, step in steps.items() if isinstance(step, Operator | Later)]
    show("", ["column", "operator", "in the store", "to compute", "pace", "estimate"], rows)
    for name, step in steps.items():
        if isinstance(step, Reads):
            say(f"{name}: {step.inputs} would be read too")
        if isinstance(step, Finetune):
            say(f"{name}: {step.base.name} would be trained for {step.epochs} epochs, unless the store has the run")
        if isinstance(step, Operator):
            say(f"{name}: {_manner(profile.execution(step))}")
    say("nothing was run")


def _manner(how: Execution) -> str:
    """How an operator runs, in words."""
    shares = [f"{how.cpus:g} CPUs", *([f"{how.gpus:g} GPUs"] if how.gpus else [])]
    if how.workers_per_gpu > 1:
        shares.append(f"up to {how.workers_per_gpu} workers per GPU")
    if how.memory:
        shares.append(f"{how.memory / 2**30:,.1f} GiB of memory")
    workers = f"up to {how.workers:,} workers" if how.workers else "as many workers as there is room for"
    return f"{workers}, each with {', '.join(shares)}, and batches of {how.rows:,} samples"


def _row(name: str, step: Operator | Later, store: Store, facts: Mapping[str, Any]) -> list[str]:
    """Returns the row of a column: the number of its stored values, and an estimate of the time for the others."""
    if isinstance(step, Later):
        return [name, step.operator, "-", "all", "-", "once trained"]
    pace = store.pace(step)
    stored = 0
    if facts:
        states = store.feature(step, identity(facts, step.belongs_to())).states(facts["samples"])
        stored = int(np.count_nonzero(states != MISSING))
    missing = facts["samples"] - stored if facts else None
    speed = f"{pace:,.0f} per second" if pace else "not measured in this store yet"
    estimate = f"{missing / pace:,.0f} s" if pace and missing is not None else "-"
    left = "all" if missing is None else f"{missing:,}"
    return [name, type(step).__name__, f"{stored:,}", left, speed, "0 s" if missing == 0 else estimate]
