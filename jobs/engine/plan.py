"""What a run would compute, without computing it."""

import numpy as np

from jobs.engine.config import Request
from jobs.engine.pool import identity, known_facts
from jobs.engine.profile import Profile
from jobs.engine.recipe import Recipe
from jobs.engine.screen import say, show
from jobs.engine.store import MISSING, Store


def show_plan(request: Request, recipe: Recipe, store: Store, profile: Profile) -> None:
    """Prints the recipe's operators, how much of each the store has, and how long the rest should take."""
    facts = known_facts(request.inputs, store)
    say(f"{request.recipe}: {', '.join(request.inputs)}, budget {recipe.budget}")
    say(f"pool: {facts['samples']:,} samples" if facts else "pool: not ingested yet, so the samples are not counted")
    limits = {name: value for name, value in vars(recipe).items() if name.startswith("max_")}
    say(f"the run fails above: {', '.join(f'{name} {value:g}' for name, value in limits.items())}")
    rows = []
    for name, operator in recipe.operators().items():
        pace = store.pace(operator)
        stored = 0
        if facts:
            states = store.feature(operator, identity(facts, operator.belongs_to())).states(facts["samples"])
            stored = int(np.count_nonzero(states != MISSING))
        missing = facts["samples"] - stored if facts else None
        speed = f"{pace:,.0f} a second" if pace else "not measured in this store yet"
        estimate = f"{missing / pace:,.0f} s" if pace and missing is not None else "-"
        rows.append(
            [
                name,
                type(operator).__name__,
                f"{stored:,}",
                "all" if missing is None else f"{missing:,}",
                speed,
                "0 s" if missing == 0 else estimate,
            ]
        )
    show("", ["column", "operator", "in the store", "to compute", "pace", "estimate"], rows)
    for name, trainer in recipe.trainers().items():
        say(f"{name}: {trainer.base.name} would be trained for {trainer.epochs} epochs, unless the store has the run")
    execution = ", ".join(f"{name}: {profile.execution(each)}" for name, each in recipe.operators().items())
    say(f"execution: {execution or 'no operator'}")
    say("nothing was run")
