"""Targets: the samples that a selection is made for, by subtask, and their gradients at a checkpoint.

<store>/directions/<fingerprint>.safetensors    the targets' mean gradient per subtask (gradients/directions.py)
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import ray
from pydantic.dataclasses import dataclass as declaration

from jobs.engine.command.places import missing
from jobs.engine.execute.failure import told
from jobs.engine.execute.gpus import hide_other_gpus, task
from jobs.engine.pool.pool import Pool
from jobs.engine.recipe import Reads, Recipe, Step
from jobs.engine.record.entries import declaration as declared
from jobs.engine.samples.reading import read_samples
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError, WinnowError
from jobs.engine.terminal.screen import say
from operators.base import STRICT, canonical_digest
from operators.field import Field
from operators.gradients.directions import Aggregate, Directions
from operators.gradients.gradient import Gradient
from operators.gradients.target_directions import directions
from operators.sample import Message

ALL = "all targets"
AUTO = "auto"
"""The subtask is the value of the records' field `SUBTASK`. Where no record has it, all targets are one subtask."""
SUBTASK = "subtask"
SHOWN = 5
"""The number of records that an error names."""


@declaration(frozen=True, config=STRICT)
class Targeted(Recipe):
    """A recipe that selects for a target."""

    needs: ClassVar = ("target=FILE, samples of the tasks that the model is meant for",)

    target: str = ""
    """The file of target samples, in any format."""
    subtask: str | None = AUTO
    """The field of the records that names each target's subtask. auto: the field "subtask", or one subtask where no
    record has it. none: all targets are one subtask."""

    def refusals(self) -> Iterator[str]:
        """Refuses a missing target."""
        if self.target:
            yield from missing("target", self.target)
        else:
            yield f"{type(self).__name__} selects for a target: name a file of target samples with target=FILE"

    def steps(self) -> dict[str, Step]:
        """The targets, and the operators and trainers among the fields."""
        return {**({"target": Reads(self.target)} if self.target else {}), **super().steps()}

    def targets(self, pool: Pool) -> "Targets":
        """The targets of a run over this pool; UsageError as for `Targets.read`."""
        return Targets.read(pool.beside(self.target), self.subtask)


@dataclass(frozen=True)
class Targets:
    """The target samples, and the subtask of each."""

    pool: Pool
    names: tuple[str, ...]
    """The subtasks, sorted."""
    subtasks: np.ndarray
    """(t,) int64, the position in `names` of each target's subtask, by id."""

    @classmethod
    def read(cls, pool: Pool, subtask: str | None) -> "Targets":
        """The samples of a pool as targets.

        subtask: the field of the records that names the subtask; AUTO: the field `SUBTASK` where the records have it;
        None: all targets are one subtask. UsageError where the pool has no samples, quarantined records or duplicates,
        and where some records lack the field.
        """
        where = ", ".join(source["uri"] for source in pool.facts["sources"])
        lost = {each: pool.facts[each] for each in ("quarantined", "duplicates") if pool.facts[each]}
        if lost or not pool.samples:
            counted = " and ".join(f"{count:,} {kind}" for kind, count in lost.items()) or "no"
            raise UsageError(
                f"targets {where}: {counted} records; each target has to be a sample that occurs once. "
                f"{pool.folder} lists the others"
            )
        ids = np.arange(pool.samples)
        if subtask is None:
            return cls(pool, (ALL,), np.zeros(len(ids), np.int64))
        table = pa.concat_tables(read_samples(pool.parts, ids, ["raw", "source", "line"]))
        field = SUBTASK if subtask == AUTO else subtask
        labels = np.array(Field(field).load()(table))
        lacking = np.flatnonzero(labels == "")
        if subtask == AUTO and len(lacking) == len(ids):
            say(f"targets: no record of {where} has a {SUBTASK!r}, so all {len(ids):,} are one subtask")
            return cls(pool, (ALL,), np.zeros(len(ids), np.int64))
        if len(lacking):
            rows = table.take(pa.array(lacking[:SHOWN])).to_pylist()
            named = ", ".join(f"{row['source']}:{row['line']}" for row in rows)
            raise UsageError(
                f"targets {where}: {len(lacking):,} of {len(ids):,} records have no {field!r}: {named}"
                f"{' …' if len(lacking) > SHOWN else ''}. The fields of the first are "
                f"{', '.join(json.loads(rows[0]['raw']))}. Add the field to each, name another field with subtask=..., "
                "or set subtask=none to make all targets one subtask"
            )
        names, numbers = np.unique(labels, return_inverse=True)
        return cls(pool, tuple(names.tolist()), numbers.astype(np.int64))

    def counts(self) -> dict[str, int]:
        """The number of targets per subtask."""
        return dict(zip(self.names, np.bincount(self.subtasks).tolist(), strict=True))

    @cached_property
    def messages(self) -> dict[str, list[list[Message]]]:
        """The conversations of each subtask's targets, in order of id."""
        table = pa.concat_tables(read_samples(self.pool.parts, np.arange(self.pool.samples), ["messages"]))
        grouped: dict[str, list[list[Message]]] = {name: [] for name in self.names}
        for number, conversation in zip(self.subtasks, table["messages"].to_pylist(), strict=True):
            grouped[self.names[number]].append(conversation)
        return grouped


def target_directions(targets: Targets, gradient: Gradient, aggregate: Aggregate) -> Directions:
    """The directions of the subtasks at the gradient's checkpoint, from the store or computed on a worker.

    WinnowError where a target has no gradient.
    """
    session = targets.pool.session
    identity = {
        "directions": 1,
        "gradient": gradient.fingerprint(),
        "pool": targets.pool.facts["fingerprint"],
        "subtasks": [targets.names, targets.subtasks.tolist()],
        "aggregate": aggregate,
    }
    fingerprint = canonical_digest(identity)
    folder, name = Folder(f"{session.store.url}/directions"), f"{fingerprint[:16]}.safetensors"
    began, stored, file = time.monotonic(), folder.exists(name), folder.file(name)
    if not stored:
        execution = session.profile.execution(gradient)
        remote = WRITE.on(execution.gpus).options(num_gpus=execution.gpus, memory=execution.memory)
        say(f"targets: {targets.pool.samples:,} in {len(targets.names):,} subtasks, to {file}")
        with told("targets", session):
            ray.get(remote.remote(gradient, targets.messages, folder, name, aggregate))
    session.log.append(
        {
            "targets": list(targets.names),
            **declared(gradient),
            "aggregate": aggregate,
            "pool": targets.pool.folder,
            "folder": file,
            "samples": targets.pool.samples,
            "stored": targets.pool.samples if stored else 0,
            "computed": 0 if stored else targets.pool.samples,
            "seconds": round(time.monotonic() - began, 2),
        }
    )
    return Directions(file)


def target_features(targets: Targets, gradient: Gradient, column: str) -> np.ndarray:
    """The projected gradients of the targets, (t, d); WinnowError where a target has none.

    column: the name of the column.
    """
    having = targets.pool.map(**{column: gradient})
    failed = targets.pool - having
    if len(failed):
        raise WinnowError(
            f"targets: {len(failed)} have no gradient; the first is sample {failed.ids[0]} of {targets.pool.folder}"
        )
    return having.values(column)


def write_directions(
    gradient: Gradient, subtasks: dict[str, list[list[Message]]], folder: Folder, name: str, aggregate: Aggregate
) -> None:
    """Computes the directions of the subtasks in this worker, and writes them to the file of this name in a folder."""
    hide_other_gpus()
    folder.make()
    if folder.local:
        directions(gradient, subtasks, Path(folder.file(name)), aggregate)
        return
    with tempfile.TemporaryDirectory() as here:
        made = Path(here) / name
        directions(gradient, subtasks, made, aggregate)
        with made.open("rb") as file, folder.writing(name) as copy:
            shutil.copyfileobj(file, copy)


WRITE = task(write_directions)
