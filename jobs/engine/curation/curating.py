"""A run of a recipe: its pool, its selection, the report and the card, and the manifest last."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobs.engine.command.config import Asked
from jobs.engine.command.taken import refuse_other_run
from jobs.engine.execute.model_room import refuse_without_room
from jobs.engine.execute.session import Session
from jobs.engine.execute.starting import started
from jobs.engine.outcome.earlier import finished
from jobs.engine.outcome.ledger import KEPT, STATES
from jobs.engine.outcome.manifest import claimed, ending, write_manifest
from jobs.engine.outcome.outcome import Outcome, desk, written
from jobs.engine.pool.pool import Pool
from jobs.engine.report.card import write_card
from jobs.engine.report.report import write_report
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import NothingSelected, UsageError, refuse
from jobs.engine.terminal.screen import say
from jobs.engine.train.checkpoints import has_trainings
from operators.base import Operator
from operators.training.finetune import Finetune


def curate(asked: Asked, session: Session) -> None:
    """Runs a request from start to end, unless its folder holds its outcome already, and says what came out."""
    out, run = asked.out, asked.run()
    earlier = None if session.retry_errors else finished(run, out, session)
    if earlier:
        say(f"{out} holds this very run, finished {earlier['finished']}: 0 samples to compute, nothing to decide")
        counts = {state: earlier["counts"][state] for state in STATES}
    else:
        refuse_other_run(out, asked.name, asked.request.inputs, run["fields"], session)
        counts = _selected(asked, session).counts
    say(f"{asked.name}: {', '.join(f'{number:,} {state}' for state, number in counts.items())}")
    say(f"{out}/selected.jsonl holds the kept records, best first; {out}/report.html shows them")
    if not counts[KEPT]:
        raise NothingSelected(f"the recipe kept none; {out}/selection.parquet says why")


def _selected(asked: Asked, session: Session) -> Outcome:
    """Opens the pool, selects with the recipe, and writes everything into the folder, the manifest last.

    The store is locked until all is written: another run would merge the parts that the ledger is made of.
    """
    with started(session, asked.recipe.steps()):
        began = time.monotonic()  # a recipe's seconds are neither those of another run's lock nor of Ray's start
        refuse_without_room(_unstored(asked.recipe.steps(), session.store), session)
        pool, identity = _opened(asked, session)
        chosen = asked.recipe.select(asked.recipe.counted(pool))
        chosen = replace(chosen, facts={**chosen.facts, **asked.recipe.unmet(chosen, pool.samples)})
        for name, fact in chosen.facts.items():
            say(f"{name}: {_worded(fact)}")
        with desk(asked.out, session) as at:
            outcome = written(chosen, Pool.open(chosen.folder, session), identity, at)
            outcome = replace(outcome, manifest={**outcome.manifest, **ending(session, began)})
            write_report(outcome)
            write_card(outcome)
        write_manifest(asked.out, outcome.manifest)
    return outcome


def _unstored(steps: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The operators and trainers of which the store has nothing, so that the run has to load their models."""
    return {
        name: step
        for name, step in steps.items()
        if (isinstance(step, Operator) and not store.known(step))
        or (isinstance(step, Finetune) and not has_trainings(store))
    }


def _opened(asked: Asked, session: Session) -> tuple[Pool, dict[str, Any]]:
    """The pool of the inputs, and what its manifest begins with, which is in the folder from now on.

    UsageError where the folder holds another run, and where the budget is above the pool, before anything is computed;
    NothingSelected where the pool has no sample.
    """
    pool = Pool.of(asked.request.inputs, session)
    facts = pool.facts
    identity = claimed("winnow_manifest", asked.run(), pool, asked.out)
    aside = f"{facts['duplicates']:,} duplicates, {facts['quarantined']:,} quarantined"
    say(f"pool: {facts['samples']:,} samples of {facts['records']:,} records ({aside})")
    if not pool.samples:
        inputs = ", ".join(asked.request.inputs)
        raise NothingSelected(f"no valid sample in {inputs}; see {pool.folder}/quarantine.jsonl")
    refuse(map(UsageError, asked.recipe.refusals_of(pool.samples)))
    return pool, identity


def _worded(fact: Any) -> str:
    if not isinstance(fact, Mapping):
        return f"{fact:g}" if isinstance(fact, float) else f"{fact:,}" if type(fact) is int else str(fact)
    each = (
        f"{name} ({value:,})" if isinstance(value, int | float) else f"{name}: {value}" for name, value in fact.items()
    )
    return ", ".join(each) or "none"
