"""The pool: candidate samples, the feature columns computed of them, and the verbs map, reduce and train."""

import inspect
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import ray
from ray.exceptions import RayError

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.session import Session, largest_node_cpus
from jobs.engine.execute.sharing import known_already, share_with_repeats
from jobs.engine.execute.stream import stream, what_to_do
from jobs.engine.ingest import IngestSettings, ingest
from jobs.engine.ingest.report import refuse_unreadable
from jobs.engine.pool.selection import Column, Selection, spread
from jobs.engine.record.entries import declaration, inputs_read
from jobs.engine.samples.folder import facts_in, identity, ingested_folder, is_pool
from jobs.engine.samples.parts import KNOWN_BY, Parts
from jobs.engine.store.feature import ERROR, MISSING, VALUE, Feature
from jobs.engine.store.store import absolute
from jobs.engine.terminal.errors import OverErrorBudget, UsageError
from jobs.engine.terminal.screen import say
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.training.finetune import Finetune

if TYPE_CHECKING:
    from jobs.engine.grow.growing import Lineage


@dataclass(frozen=True)
class Pool:
    """The candidate samples of a pool folder. Immutable: `map` gives a new pool with one more column."""

    folder: str
    facts: Mapping[str, Any]
    """What pool.json says: samples, records, fingerprint, sources, parts."""
    session: Session
    features: Mapping[str, Feature] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str, session: Session) -> "Pool":
        """The pool in a folder that ingest wrote; UsageError where there is none."""
        folder = absolute(folder)
        if not is_pool(folder):
            raise UsageError(f"{folder} holds no pool: it has no pool.json. `winnow ingest` makes one")
        return cls(folder, facts_in(folder), session)

    @classmethod
    def of(cls, inputs: Sequence[str], session: Session) -> "Pool":
        """The pool of these inputs: an ingested pool as it is, raw files ingested into the store, once.

        OverErrorBudget where more of the raw files' records cannot be read than `max_unreadable` allows; the pool is
        there all the same, so that a run that allows more need not read again.
        """
        pool = cls._of(inputs, session)
        if pool.folder != absolute(inputs[0]):
            return pool.readable()
        if session.reading != IngestSettings(answers=session.reading.answers):
            raise UsageError(
                f"{inputs[0]} is a pool, which has been read: --columns, --limit and --ignore are for raw files"
            )
        return pool

    @classmethod
    def _of(cls, inputs: Sequence[str], session: Session) -> "Pool":
        pools = [path for path in inputs if is_pool(path)]
        if pools and len(inputs) > 1:
            raise UsageError(f"{pools[0]} is a pool: give one pool, or raw files, not both")
        began = time.monotonic()
        found: list[str] = []
        folder = pools[0] if pools else ingested_folder(inputs, session.store, session.reading, found.append)
        if is_pool(folder):
            for line in found:
                say(line)
        else:
            ingest(inputs, folder, settings=session.reading, say=say, apart=session.store.url)
        pool = cls.open(folder, session)
        seconds = round(time.monotonic() - began, 2)
        key = pool.facts["fingerprint" if pools else "key"]
        session.log.append({**inputs_read(inputs, key, pool.folder, pool.facts), "seconds": seconds})
        return pool

    def beside(self, *inputs: str) -> "Pool":
        """Another pool in the same store, for a recipe that is given examples, however much is readable."""
        return Pool._of(inputs, self.session)

    def readable(self) -> "Pool":
        """This pool; OverErrorBudget where more of its records are in quarantine than `max_unreadable` allows."""
        refuse_unreadable(self.facts, self.folder, self.session.max_unreadable)
        return self

    @property
    def samples(self) -> int:
        """How many samples the pool has; their ids are 0 … samples - 1."""
        return self.facts["samples"]

    @cached_property
    def parts(self) -> Parts:
        """Where the samples lie."""
        listed = self.facts["parts"]
        return Parts(self.folder, *(tuple(part[key] for part in listed) for key in ("file", "first", "rows")))

    def identity(self, of: Literal["conversation", "record"]) -> str:
        """What tells this pool from others, in hex: what its samples say, or the whole of their records."""
        return identity(self.facts, of)

    def map(self, *, only: np.ndarray | None = None, **operators: Operator) -> "Pool":
        """This pool with a column for each operator, computed for all samples or `only` those ids.

        What the store already has is not computed again. OverErrorBudget where too many samples fail.
        """
        ids = np.arange(self.samples) if only is None else np.unique(only)
        bound = dict(self.features)
        for name, operator in operators.items():
            bound[name] = self._column(name, operator, ids)
        return replace(self, features=bound)

    def _column(self, name: str, operator: Operator, ids: np.ndarray) -> Feature:
        store = self.session.store
        store.declare(operator)
        feature = store.feature(operator, self.identity(operator.belongs_to()))
        began = time.monotonic()
        wanted = (MISSING, ERROR) if self.session.retry_errors else (MISSING,)
        states = feature.states(self.samples)
        missing = ids[np.isin(states[ids], wanted)]
        stored = len(ids) - len(missing)
        taken, known_by, repeats = 0, KNOWN_BY[operator.belongs_to()], missing[:0]
        if len(missing):
            taken, repeats = ray.get(
                known_already.remote(feature, store.known(operator), self.parts, missing, known_by)
            )
            states = feature.states(self.samples)
            missing = missing[np.isin(states[missing], wanted)]
            repeats = np.intersect1d(repeats, missing)
            missing = np.setdiff1d(missing, repeats)
        allowed = self.session.max_errors * len(ids)
        from_others = f", {taken:,} known from another pool" if taken else ""
        say(f"{name}: {len(ids):,} samples, {stored:,} in the store{from_others}, {len(missing):,} to compute")
        if len(missing):
            started = time.monotonic()
            stream(operator, name, feature, self.parts, missing, allowed, self.session)
            store.note_pace(operator, len(missing), time.monotonic() - started)
            ray.get(share_with_repeats.remote(feature, self.parts, repeats, known_by))
            states = feature.states(self.samples)
        failed = int((states[ids] == ERROR).sum())
        seconds = time.monotonic() - began
        self.session.log.append(
            {
                "map": name,
                **declaration(operator),
                "pool": self.folder,
                "feature": feature.folder,
                "samples": len(ids),
                "stored": stored,
                "taken_over": taken,
                "computed": len(missing),
                "failed": failed,
                "seconds": round(seconds, 2),
            }
        )
        if failed > allowed:
            raise OverErrorBudget(
                f"{name}: {failed:,} of {len(ids):,} samples have an error and max_errors allows {allowed:,.0f}. "
                f"{what_to_do(operator, name, next(feature.errors(), (0, ''))[1])}"
            )
        return feature

    def valid(self, *columns: str) -> np.ndarray:
        """The ids that have a value in each of these columns, ascending."""
        good = np.ones(self.samples, bool)
        for name in {column.partition(".")[0] for column in columns}:
            good &= self.features[name].states(self.samples) == VALUE
        return np.flatnonzero(good)

    def values(self, name: str, ids: np.ndarray) -> np.ndarray:
        """A column's values for these ids; `name.field` is one field of a column of structs.

        For narrow columns (labels, counts, scores); wide ones are for reduce.
        """
        feature, field = self._named(name)
        return feature.values(ids, field)

    def _named(self, name: str) -> tuple[Feature, str]:
        column, _, field = name.partition(".")
        return self.features[column], field

    def reduce(self, kernel: Callable[..., Any], *columns: str, only: np.ndarray | None = None, **params: Any) -> Any:
        """What the kernel returns of whole columns, computed on a worker.

        The kernel is given one array a column, aligned with the ids `only` (those that have a value in all of
        the columns where it is None), and the parameters. Positions in its result are positions in those ids.
        A column is named as in `values`.
        """
        ids = self.valid(*columns) if only is None else only
        profile = self.session.profile
        began = time.monotonic()
        if profile.reduce_gpus and "device" in inspect.signature(kernel).parameters:
            params = {"device": "cuda", **params}
        task = _reduced.options(num_gpus=profile.reduce_gpus, name=kernel.__name__)
        threads = profile.reduce_threads or int(largest_node_cpus())
        try:
            result = ray.get(task.remote(kernel, [self._named(name) for name in columns], ids, params, threads))
        except RayError as error:
            raise failure(f"{kernel.__name__} of {', '.join(columns)}: {cause(error)}", error, self.session) from error
        seconds = time.monotonic() - began
        self.session.log.append(
            {"reduce": kernel.__name__, "columns": list(columns), "samples": len(ids), "seconds": round(seconds, 2)}
        )
        shown = ", ".join(columns) if len(columns) < 5 else f"{columns[0]} … {columns[-1]} ({len(columns)} columns)"
        say(f"{kernel.__name__}: {len(ids):,} samples of {shown} in {seconds:,.1f} s")
        return result

    def grow(self, *, rewrite: Operator, respond: Operator, only: np.ndarray | None = None) -> "Pool":
        """A pool of all these samples, with the same ids, and of one round of new ones made of them or of `only` some.

        `rewrite` gives a struct of instruction, input and outcome, `respond` one of response and outcome. A sample
        whose outcome is not empty, or that is there already, is not added; pool.json's `rounds` counts it.
        """
        from jobs.engine.grow.growing import grown  # which opens pools

        return grown(self, rewrite, respond, only)

    def train(self, trainer: Finetune, ids: np.ndarray) -> tuple[Checkpoint, ...]:
        """A checkpoint an epoch, in order, of a model trained on the samples with these ids, in whatever order.

        Each is a local folder: weights or adapter, tokenizer, adam.safetensors, training.json. Trained once: the store
        keeps them by trainer, pool and ids. Samples with nothing to supervise are left out and counted.
        """
        from jobs.engine.train.training import trained  # which needs pools

        return trained(self, trainer, ids)

    def lineage(self) -> "Lineage":
        """Of which sample each was made, and in which round."""
        from jobs.engine.grow.growing import lineage

        return lineage(self)

    def select(
        self,
        ids: np.ndarray,
        *,
        reasons: Mapping[str, np.ndarray],
        score: Column | None = None,
        details: Mapping[str, Column] | None = None,
        facts: Mapping[str, Any] | None = None,
        vector: str | None = None,
    ) -> Selection:
        """The selection of these ids, best first.

        `reasons` names why, with the ids each reason holds for: the first entry speaks for all samples, a later
        one replaces an earlier one for its ids.
        """
        ids = np.asarray(ids, np.int64)
        if len(np.unique(ids)) != len(ids):
            raise ValueError("a selection holds an id twice")
        reason = np.zeros(self.samples, np.int32)
        for position, held in enumerate(reasons.values()):
            reason[held] = position
        return Selection(
            ids=ids,
            score=spread(self.samples, score or (np.empty(0, int), np.empty(0))),
            folder=self.folder,
            reason=reason,
            reasons=tuple(reasons),
            details={name: spread(self.samples, column) for name, column in (details or {}).items()},
            features=self.features,
            facts=facts or {},
            vector=vector,
        )


# One CPU in Ray's books, whatever the threads: asking for a whole node could wait for ever on a shared cluster.
@ray.remote(num_cpus=1)
def _reduced(
    kernel: Callable[..., Any], named: list[tuple[Feature, str]], ids: np.ndarray, params: dict[str, Any], threads: int
) -> Any:
    import torch  # the driver does without it

    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
    return kernel(*(feature.values(ids, field) for feature, field in named), **params)
