"""Fitting a rule: many small fine-tunes on random mixtures of sources, and the loss of each on held-out samples.

Each set of samples is drawn by its number and the seed. So a fit that was stopped draws the same sets again, and the
store has the trainings and losses of those that were done.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated, Any, Literal

import numpy as np
import ray
from pydantic import BeforeValidator
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass as declaration

from jobs.engine.execute.profile import Profile
from jobs.engine.pool.subset import Subset
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.screen import say
from jobs.methods.held_out import HeldOut
from jobs.methods.instructmining.indicators import COLUMNS, Indicators
from jobs.methods.instructmining.rules import FORM
from jobs.methods.sources import Sources
from operators.base import STRICT
from operators.kernels.linear_fit import Fit, best_fits, constant_columns
from operators.training.finetune import LIKE_ALPACA, Finetune


def _named(names: Any) -> Any:
    """The indicators in a text with commas, or in a list; ValueError where there are none of these names."""
    listed = [each.strip() for each in names.split(",")] if isinstance(names, str) else names
    unknown = [name for name in listed if name not in COLUMNS]
    if unknown or not listed or len(set(listed)) < len(listed):
        found = f"there is no indicator {unknown[0]!r}" if unknown else "name each indicator once, one at least"
        raise ValueError(f"{found}; the indicators are {', '.join(COLUMNS)}")
    return tuple(listed)


@declaration(frozen=True, config=STRICT)
class RuleFit(Indicators):
    """How a rule is fitted."""

    indicators: Annotated[tuple[str, ...], Limits(strict=False), BeforeValidator(_named)] = tuple(COLUMNS)
    """The indicators that may be in the rule, such as rew,len_out,mtld."""
    subsets: int = Limits(default=129, ge=3)
    """How many sets of samples are drawn and trained on."""
    samples: int = Limits(default=1000, ge=1)
    """The number of samples of a set."""
    train: Finetune = LIKE_ALPACA
    """The fine-tuning on each set. The loss is of the last epoch."""
    source: str | None = None
    """The field of the records that names their source; none: the file that they are from."""
    chosen: Literal["adjusted", "cross-validated"] = "adjusted"
    """By which R² the number of indicators is chosen. The paper takes the highest R², which all of them have."""
    folds: int = Limits(default=5, ge=2)
    """The folds of the cross-validation."""
    seed: int = Limits(default=0, ge=0)
    max_errors: float = Limits(default=0.01, ge=0, le=1)
    """The share of failing samples in an operator above which the fit fails."""


def drawn(sources: Sources, size: int, seed: int, number: int) -> np.ndarray:
    """The positions of the samples of a set, ascending: a random mixture of the sources; each sample once.

    UsageError where there are not as many samples.
    """
    if size > len(sources.of):
        raise UsageError(f"samples={size:,}, and only {len(sources.of):,} have every indicator: set samples lower")
    rng = np.random.default_rng([seed, number])
    share = rng.dirichlet(np.ones(len(sources.names))) / np.bincount(sources.of, minlength=len(sources.names))
    # The largest of these keys are a draw without replacement, each sample with a chance by its source's share.
    keys = np.log(np.maximum(share[sources.of], np.finfo(float).tiny)) + rng.gumbel(size=len(sources.of))
    return np.sort(np.argpartition(-keys, size - 1)[:size])


@dataclass(frozen=True)
class Run:
    """A set of samples, and the loss after training on it."""

    number: int
    shares: Mapping[str, float]
    """The share of each source."""
    means: Mapping[str, float]
    """The mean of each indicator over the set."""
    loss: float
    """On the held-out samples, in nats per token."""


def fine_tuned(scored: Subset, sources: Sources, wanted: RuleFit, held_out: HeldOut) -> list[Run]:
    """A run per set, in order; as many at a time as the cluster has room for.

    scored: the samples, with a column for each indicator.
    """
    parallel, threads = _room(scored.session.profile)
    profile = replace(scored.session.profile, train_threads=threads)
    sets = [drawn(sources, wanted.samples, wanted.seed, number) for number in range(wanted.subsets)]
    logs: list[list[dict[str, Any]]] = [[] for _ in sets]

    def loss(number: int) -> float:
        session = replace(scored.session, profile=profile, log=logs[number])
        chosen = replace(scored[scored.ids[sets[number]]], session=session)
        found = held_out.loss(wanted.train, chosen.train(wanted.train)[-1])
        say(f"set {number + 1} of {wanted.subsets}: held-out loss {found:.4f}")
        return found

    say(f"fit: {wanted.subsets} sets of {wanted.samples:,} samples, {parallel} at a time")
    with ThreadPoolExecutor(parallel) as threads_of_runs:
        try:
            losses = list(threads_of_runs.map(loss, range(len(sets))))
        except BaseException:
            threads_of_runs.shutdown(cancel_futures=True)
            raise
        finally:  # in the order of the sets, whichever ended first
            scored.session.log.extend(entry for log in logs for entry in log)
    values = {name: scored.values(name).astype(np.float64) for name in wanted.indicators}
    return [
        Run(number, _shares(sources, places), {name: float(of[places].mean()) for name, of in values.items()}, found)
        for number, (places, found) in enumerate(zip(sets, losses, strict=True))
    ]


def _shares(sources: Sources, places: np.ndarray) -> dict[str, float]:
    counts = np.bincount(sources.of[places], minlength=len(sources.names))
    return {name: int(count) / len(places) for name, count in zip(sources.names, counts, strict=True) if count}


def _room(profile: Profile) -> tuple[int, int]:
    """How many trainings run at a time, and the threads of each of their processes."""
    resources = ray.cluster_resources()
    cpus, workers = resources.get("CPU", 1.0), profile.train_workers
    room = int(cpus // workers)
    if profile.train_gpus:
        room = min(room, int(resources.get("GPU", 0.0) // (workers * profile.train_gpus)))
    parallel = max(1, room)
    return parallel, profile.train_threads or max(1, int(cpus // (parallel * workers)))


@dataclass(frozen=True)
class Fitted:
    """The fits of all numbers of indicators, and the one that is the rule."""

    fits: Sequence[Fit]
    rule: Fit
    constant: Sequence[str]
    """The indicators that are the same in all sets, which are in no fit."""


def fitted(runs: Sequence[Run], wanted: RuleFit) -> Fitted:
    """The fits of the log of the loss on the means of the indicators; UsageError where there is none."""
    columns = {name: np.array([run.means[name] for run in runs]) for name in wanted.indicators}
    same = constant_columns(columns)
    for name in same:
        say(f"fit: {name} is the same in all sets, so it is left out")
    varying = {name: values for name, values in columns.items() if name not in same}
    fits = best_fits(varying, np.log([run.loss for run in runs]), wanted.folds, wanted.seed)
    if not fits:
        raise UsageError("no rule can be fitted: no indicator differs between the sets, or there are too few sets")
    measure = {"adjusted": "adjusted", "cross-validated": "cross_validated"}[wanted.chosen]
    return Fitted(fits, max(fits, key=attrgetter(measure)), same)


def rule_content(found: Fitted, wanted: RuleFit, held_out: str, spearman: float | None) -> dict[str, Any]:
    """The content of rule.json."""
    rule = found.rule
    estimates = {"constant": rule.constant, **rule.coefficients}
    return {
        "winnow_rule": FORM,
        "constant": rule.constant.value,
        "coefficients": {name: each.value for name, each in rule.coefficients.items()},
        "standard_errors": {name: each.error for name, each in estimates.items()},
        "p_values": {name: each.p for name, each in estimates.items()},
        "variance_inflation": dict(rule.inflation),
        "r2": rule.r2,
        "adjusted_r2": rule.adjusted,
        "cross_validated_r2": rule.cross_validated,
        "sets": rule.rows,
        "samples_per_set": wanted.samples,
        "left_out": list(found.constant),
        "rank_correlation_with_length": spearman,
        "indicators": {name: wanted.identity(name) for name in rule.coefficients},
        "provenance": f"winnow fit-rule: {rule.rows} fine-tunes of {wanted.train.base.name} on {wanted.samples:,} "
        f"samples each, loss on {held_out}",
    }


def doubts(found: Fitted, spearman: float | None) -> Iterator[str]:
    """Yields what speaks against trusting a rule."""
    rule = found.rule
    if rule.cross_validated < 0.2:
        yield f"it predicts sets that it has not seen badly: cross-validated R² {rule.cross_validated:.2f}, below 0.2"
    for name, sign in (("rew", -1), ("nat", -1), ("coh", -1)):
        if name in rule.coefficients and rule.coefficients[name].value * sign < 0:
            yield f"the coefficient of {name} has an unexpected sign: more of it predicts a higher loss"
    twins = [name for name, value in rule.inflation.items() if value > 10]
    if twins:
        yield f"{' and '.join(twins)} say nearly the same as the others (variance inflation above 10)"
    if spearman is not None and abs(spearman) > 0.6:
        yield f"it is a rule about length: its rank correlation with the length of responses is {spearman:.2f}"
