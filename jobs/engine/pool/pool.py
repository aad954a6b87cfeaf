"""The pool: all candidate samples, with which a recipe starts, and the selection that it returns."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.engine.execute.session import Session, connect
from jobs.engine.grow.growing import Lineage, grown, lineage
from jobs.engine.ingest import IngestSettings, ingest
from jobs.engine.ingest.findings import is_over, refuse_unreadable, say_reasons
from jobs.engine.pool.column import Column, features, joined
from jobs.engine.pool.facts import common_facts
from jobs.engine.pool.ids import held_by
from jobs.engine.pool.selection import Selection
from jobs.engine.pool.series import Series, smallest, spread
from jobs.engine.pool.subset import Ranking, Subset
from jobs.engine.record.entries import inputs_read
from jobs.engine.samples.pool_folder import Samples, ingested_folder, is_pool, refuse_reading_again
from jobs.engine.samples.reading import Parts
from jobs.engine.store.store import absolute
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.screen import say
from operators.base import Operator

UNSCORED = "not scored"


@dataclass(frozen=True, eq=False)
class Pool(Subset):
    """All the candidate samples of a pool folder."""

    @classmethod
    def open(cls, folder: str, session: Session) -> "Pool":
        """The pool in a folder that ingest wrote; UsageError where the folder has no pool."""
        origin = Samples.open(folder)
        return cls(origin, session, np.arange(origin.samples))

    @classmethod
    def of(cls, inputs: Sequence[str], session: Session) -> "Pool":
        """The pool of these inputs: the folder of a pool, or raw files, which are ingested into the store once.

        OverErrorBudget where more records of raw files are unreadable than `max_unreadable` allows. The pool is in the
        store nevertheless, so a run that allows more does not read the files again. UsageError for a pool together with
        other inputs, and for a pool with settings for reading raw files.
        """
        pool = cls._of(inputs, session, session.reading)
        if pool.folder != absolute(inputs[0]):
            return pool.readable()
        refuse_reading_again(inputs, session.reading)
        return pool

    @classmethod
    def _of(cls, inputs: Sequence[str], session: Session, reading: IngestSettings) -> "Pool":
        pools = [path for path in inputs if is_pool(path)]
        if pools and len(inputs) > 1:
            raise UsageError(f"{pools[0]} is a pool: give one pool, or raw files, not both")
        began = time.monotonic()
        found: list[str] = []
        folder = pools[0] if pools else ingested_folder(inputs, session.store, reading, found.append)
        known = is_pool(folder)
        for line in found if known else ():
            say(line)
        if not known:
            connect(session.profile, session.store.folder)
            ingest(inputs, folder, settings=reading, say=say, apart=session.store.url)
        pool = cls.open(folder, session)
        if known and not pools and is_over(pool.facts, session.max_unreadable):
            say_reasons(pool.facts, pool.folder, say)
        seconds = round(time.monotonic() - began, 2)
        key = pool.facts["fingerprint" if pools else "key"]
        session.log.append({**inputs_read(inputs, key, pool.folder, pool.facts), "seconds": seconds})
        return pool

    def _where(self, mask: np.ndarray) -> Subset:  # type: ignore[override] - some samples of a pool are not a pool
        ids = held_by(self) if mask.all() else held_by(self).where(mask)
        return Subset(self.origin, self.session, ids, self.columns)

    def beside(self, *inputs: str) -> "Pool":
        """Another pool in the same store, such as target samples; `max_unreadable` is not checked.

        What is left out before a recipe is left out of the candidates alone.
        """
        return Pool._of(inputs, self.session, self.session.reading.whole())

    def readable(self) -> "Pool":
        """This pool; OverErrorBudget where more of its records are unreadable than `max_unreadable` allows."""
        refuse_unreadable(self.facts, self.folder, self.session.max_unreadable)
        return self

    @property
    def folder(self) -> str:
        """The folder of the pool."""
        return self.origin.folder

    @property
    def facts(self) -> Mapping[str, Any]:
        """The content of pool.json: samples, records, fingerprint, sources, parts and more."""
        return self.origin.facts

    @property
    def parts(self) -> Parts:
        """The part files of the samples."""
        return self.origin.parts

    @property
    def samples(self) -> int:
        """The number of samples of the pool; their ids are 0 … samples - 1."""
        return self.origin.samples

    def grow(self, *, rewrite: Operator, respond: Operator, only: Subset | None = None) -> "Pool":
        """A pool of these samples, with the same ids, followed by new samples that one round of rewriting makes.

        rewrite: its values are structs of instruction, input and outcome. respond: its values are structs of response
        and outcome. only: the samples to rewrite; None: all. A new sample whose outcome is not empty, or that repeats
        another sample, is not added but counted in `rounds` in pool.json.
        """
        ids = self.ids if only is None else only.ids
        return Pool.open(grown(self.origin, self.session, rewrite, respond, ids).folder, self.session)

    def lineage(self) -> Lineage:
        """The parent of each sample, and the round in which it was added."""
        return lineage(self.origin)

    def selection(
        self,
        kept: Ranking,
        *,
        because: Mapping[str, Subset],
        score: str | Series | None = None,
        details: Mapping[str, Series] | None = None,
        facts: Mapping[str, Any] | None = None,
        vector: str | None = None,
    ) -> Selection:
        """The selection that keeps these samples.

        because: the samples by reason; where a sample is in several entries, the last one counts, and a sample in no
        entry has the reason "not scored". score: the name of a column, or one value per scored sample; higher is
        better. details: additional columns of selection.parquet. facts: additional facts for the manifest. vector: the
        column of embeddings in which `explain` finds the nearest samples. ValueError where `kept` has a sample twice.
        """
        reason = np.zeros(self.samples, smallest(0, len(because)))
        reason[kept.order] = 1
        if np.count_nonzero(reason) != len(kept.order):
            raise ValueError("a selection contains a sample twice")
        reason[kept.order] = 0
        for position, those in enumerate(because.values(), start=1):
            for ids in held_by(those).blocks():
                reason[ids] = position
        columns: dict[str, Column] = {}
        for each in (*because.values(), kept):
            columns = joined(columns, each.columns)
        if isinstance(score, str):
            name, _, field = score.partition(".")
            score = columns[name].series(held_by(columns[name]), field)
        found = common_facts(self.origin, self.session, score, columns)
        return Selection(
            ids=kept.order,
            score=spread(self.samples, score.as_floats() if score else Series(np.empty(0, np.int64))),
            folder=self.folder,
            reason=reason,
            reasons=(UNSCORED, *because),
            details={name: spread(self.samples, values) for name, values in (details or {}).items()},
            features=features(columns),
            facts={**found, **(facts or {})},
            vector=vector,
        )
