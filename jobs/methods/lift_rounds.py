"""LIFT's rounds of rewriting: the grown pool, and the refusal of a round that loses too much."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.terminal.errors import Unanswered
from jobs.methods.replies import refusal
from operators.asking.respond import Respond
from operators.asking.rewrite import Rewrite

Start = Literal["previous", "original"]


def grown(pool: Pool, rewrite: Rewrite, respond: Respond, rounds: int, start: Start, max_lost: float) -> Pool:
    """The pool after all rounds; the rounds end early where one has no sample to rewrite.

    start: previous, each round rewrites the samples that the round before has added; original, each round rewrites the
    original samples. Unanswered where a round loses more than the share `max_lost` of what it rewrites or answers.
    """
    for number in range(rounds):
        ids = np.flatnonzero(pool.lineage().round == (number if start == "previous" else 0))
        if not len(ids):
            break
        # With the same seed, the same samples would get the same answers again.
        seed = rewrite.seed + (number if start == "original" else 0)
        pool = pool.grow(rewrite=replace(rewrite, seed=seed), respond=respond, only=pool[ids])
        _refuse_lost(pool.facts["rounds"][-1], rewrite, respond, max_lost)
    return pool


def _refuse_lost(counts: Mapping[str, Any], rewrite: Rewrite, respond: Respond, max_lost: float) -> None:
    """Raises Unanswered where a round has lost more than the share `max_lost` of what it rewrites or answers."""
    limit = f"max_lost={max_lost:g}"
    for field, asking, asked, not_made in (
        ("rewrite", rewrite, counts["asked"], counts["not_rewritten"]),
        ("respond", respond, counts["rewritten"], counts["not_answered"]),
    ):
        if sum(not_made.values()) > max_lost * asked:
            raise Unanswered(refusal(field, asking, limit, asked, not_made, {}))


def round_facts(pool: Pool) -> dict[str, dict[str, int]]:
    """The counts of each round as facts of the selection, without nesting."""
    return {f"round {number}": _flat(counts) for number, counts in enumerate(pool.facts.get("rounds", ()), 1)}


def _flat(counts: Mapping[str, Any]) -> dict[str, int]:
    plain = {name: count for name, count in counts.items() if not isinstance(count, Mapping)}
    nested = [(name, inner) for name, inner in counts.items() if isinstance(inner, Mapping)]
    return plain | {f"{name}: {reason}": count for name, inner in nested for reason, count in inner.items()}
