"""Fine-tunes on each selection with as many optimiser steps, and the held-out losses after them.

An epoch has `steps` steps for every selection: a selection of k samples is trained on in batches of k // steps, so that
two selections of one size are trained alike. At most steps - 1 of the last samples are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.samples.runs import ids_digest
from jobs.engine.terminal.errors import WinnowError, first_line
from jobs.engine.terminal.screen import say
from jobs.methods.comparison import KIND
from jobs.methods.comparison.contenders import RANDOM, Comparison
from jobs.methods.comparison.results import Result
from jobs.methods.held_out import HeldOut
from jobs.methods.remembered import remembered
from operators.kernels.bootstrap import interval


@dataclass(frozen=True)
class FineTuned:
    """The held-out losses of the models of several selections."""

    losses: Mapping[str, np.ndarray]
    """Of each selection (seeds, n): the loss of each held-out sample under the model of each seed; NaN for none."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why a fine-tune on each of other selections failed."""

    def rows(self) -> dict[str, dict[str, Any]]:
        """Of each selection the mean loss with its interval, and how it differs from random selections.

        The interval is by the bootstrap over held-out samples, of the mean over the seeds. A selection beats random
        ("better") where the interval of the difference lies below 0 and every seed's loss is below that of each random
        selection, whose differences among themselves are chance; "worse" is the same above.
        """
        if not self.losses:
            return {}
        whole = np.isfinite(np.concatenate(list(self.losses.values()))).all(axis=0)
        losses = {name: each[:, whole] for name, each in self.losses.items()}
        drawn = [each for name, each in losses.items() if name.startswith(RANDOM)]
        random = np.array([each.mean(axis=0) for each in drawn])
        return {name: _row(name, each, random) for name, each in losses.items()}


def _row(name: str, losses: np.ndarray, random: np.ndarray) -> dict[str, Any]:
    """The row of a selection; losses: (seeds, n). random: (random selections, n), the means over their seeds."""
    found = interval(losses.mean(axis=0))
    by_seed = losses.mean(axis=1)
    row = {
        "loss": found.estimate,
        "loss_low": found.low,
        "loss_high": found.high,
        "loss_of_seeds": by_seed.tolist(),
    }
    if not len(random) or name.startswith(RANDOM):
        return row
    gap, drawn = interval(losses.mean(axis=0) - random.mean(axis=0)), random.mean(axis=1)
    better = gap.high < 0 and by_seed.max() < drawn.min()
    worse = gap.low > 0 and by_seed.min() > drawn.max()
    verdict = "better" if better else "worse" if worse else "no difference shown"
    return {**row, "gap": gap.estimate, "gap_low": gap.low, "gap_high": gap.high, "against_random": verdict}


def fine_tuned(
    pool: Pool, results: Mapping[str, Result], wanted: Comparison, held_out: HeldOut
) -> tuple[FineTuned, dict[str, str]]:
    """Fine-tunes on each selection once per seed; also why a selection is too small for it, by its name.

    A fine-tune that fails does not end those after it: a selection may hold what no model can learn.
    """
    losses, failed, without = {}, {}, {}
    seeds = range(wanted.seed, wanted.seed + wanted.seeds)
    for name, result in results.items():
        batch = len(result.kept) // wanted.steps
        if not batch:
            without[name] = f"{len(result.kept):,} samples are fewer than the {wanted.steps} steps of an epoch"
            continue
        try:
            of_seeds = [_losses(pool, result, wanted, batch, seed, held_out) for seed in seeds]
        except WinnowError as error:
            failed[name] = first_line(error)
            say(f"{name}: the fine-tune failed: {failed[name]}")
            continue
        losses[name] = np.array(of_seeds, float)
        say(f"{name}: held-out loss {np.nanmean(losses[name]):.4f}, the mean of {wanted.seeds} fine-tunes")
    return FineTuned(losses, failed), without


def loss_before(wanted: Comparison, held_out: HeldOut) -> float:
    """The mean held-out loss of the base, before any fine-tune (nats per token)."""
    return float(np.nanmean(held_out.losses(replace(wanted.train, lora=None), wanted.train.base)))


def _losses(
    pool: Pool, result: Result, wanted: Comparison, batch: int, seed: int, held_out: HeldOut
) -> list[float | None]:
    """The loss of each held-out sample after a fine-tune with this seed; None for a sample without one."""
    trainer, ids = replace(wanted.train, batch=batch, seed=seed), result.kept[: batch * wanted.steps]
    whole = Pool.open(result.folder, pool.session)
    identity = {
        "losses": 1,
        "trainer": trainer.fingerprint(),
        "pools": [each.origin.identity("conversation") for each in (whole, held_out.pool)],
        "ids": ids_digest(np.sort(ids)),
    }

    def trained() -> list[float | None]:
        found = held_out.losses(trainer, whole[np.sort(ids)].train(trainer)[-1])
        return [None if np.isnan(each) else float(each) for each in found]

    return remembered(pool.session, KIND, identity, trained)
