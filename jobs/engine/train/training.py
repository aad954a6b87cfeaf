"""One training run: samples of a pool, tokenized where they are trained on, to a checkpoint an epoch in the store.

    <store>/trained/Finetune-<fingerprint>/epoch-1/ …   the checkpoints (operators/training/loop.py says what is in one)
                                           losses.jsonl a line a step
                                           outcome.json what was trained on what; written when all epochs are there

The fingerprint is that of trainer, pool and ids. A run that was stopped goes on after its last whole epoch.
jobs/engine/train/worker.py is what the workers do.
"""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import ray
from fsspec.implementations.local import LocalFileSystem
from ray.exceptions import RayError, RayTaskError

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.session import Session, largest_node_cpus
from jobs.engine.record.entries import declaration
from jobs.engine.samples.folder import Samples
from jobs.engine.samples.parts import Parts, read_samples
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import UsageError, WinnowError
from jobs.engine.terminal.screen import say
from jobs.engine.train.worker import OUTCOME, Training, alone, kept, together
from operators.base import RowError, canonical_json
from operators.checkpoint import Checkpoint
from operators.supervision.labels import Labels
from operators.training.finetune import FACTS, OUTCOMES, Finetune

LOSSES = "losses.jsonl"
MOMENTS = "adam.safetensors"
REPORT_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """What became of the samples of a run."""

    samples: int
    """How many were trained on."""
    batch: int
    """How many of them a step took."""
    max_tokens: int
    """The tokens after which a sample was cut."""
    left_out: dict[str, int]
    """How many were not, by the kind of error."""
    truncated: int
    """How many have more tokens than were trained on."""
    loss: float
    """The mean over the steps of the last epoch."""


def trained(samples: Samples, session: Session, trainer: Finetune, ids: np.ndarray) -> tuple[Checkpoint, ...]:
    """The checkpoints of all epochs, in order, trained now or found in the store.

    A classifier is to tell all labels that the pool has, unless its trainer names them. ModelMissing where the base is
    not there; UsageError where the store is no folder, where the pool has fewer than two classes, or no slots, for more
    tokens than the base has positions, and where no step would have a learning rate above 0; OverErrorBudget where more
    samples than `max_errors` allows cannot be written in the template; WinnowError for all that ends the training: it
    says what and, of a loss that is no number, of which samples.
    """
    try:
        trainer.check()
    except ValueError as error:
        raise UsageError(f"train: {error}") from error
    trainer = replace(trainer, base=_absolute(trainer.base), after=trainer.after and _absolute(trainer.after))
    ids = np.unique(np.asarray(ids, np.int64))
    if not len(ids):
        raise UsageError("there is no sample to train on")
    if trainer.labels is not None:
        trainer = replace(trainer, labels=with_names(samples, trainer.labels))
    folder = training_folder(samples, session.store, trainer, ids)
    began = time.monotonic()
    found = _outcome(folder, trainer)
    _tell_of_idle_epochs(trainer, len(ids))
    if found:
        say(f"train: {folder} has all {trainer.epochs} epochs")
    outcome = found or _run(samples, session, trainer, ids, folder)
    left = sum(outcome.left_out.values())
    why = f" ({', '.join(f'{kind} {count:,}' for kind, count in outcome.left_out.items())})" if left else ""
    say(
        f"train: {outcome.samples:,} samples, {outcome.truncated:,} of them cut at {outcome.max_tokens:,} tokens, "
        f"{left:,} left out{why}; batches of {outcome.batch:,}; loss {outcome.loss:.4f} in the last epoch"
    )
    session.log.append(
        {
            "train": trainer.base.name,
            **declaration(trainer),
            "pool": samples.folder,
            "samples": len(ids),
            "stored": len(ids) if found else 0,
            "computed": 0 if found else outcome.samples,
            "left_out": outcome.left_out,
            "truncated": outcome.truncated,
            "epochs": trainer.epochs,
            "batch": outcome.batch,
            "max_tokens": outcome.max_tokens,
            "loss": outcome.loss,
            "folder": str(folder),
            "seconds": round(time.monotonic() - began, 2),
        }
    )
    return tuple(Checkpoint(str(epoch)) for epoch in _epochs(folder, trainer))


def training_folder(samples: Samples, store: Store, trainer: Finetune, ids: np.ndarray) -> Path:
    """Where the run lies, or would lie; ids ascending. UsageError where the store is no folder of a file system."""
    identity = {
        "trainer": trainer.fingerprint(),
        "pool": samples.identity("conversation" if trainer.labels is None else "record"),
        "ids": hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest(),
    }
    fingerprint = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    return local_folder(store) / "trained" / f"{type(trainer).__name__}-{fingerprint[:16]}"


def local_folder(store: Store) -> Path:
    """The store's folder; UsageError where it is no folder of a file system."""
    fs, root = fsspec.core.url_to_fs(store.url)
    if not isinstance(fs, LocalFileSystem):
        raise UsageError(
            f"checkpoints cannot be written to the store {store.url}: training wants a folder on a file system that "
            "all nodes share; give one by --store"
        )
    return Path(root).absolute()


def local_store(store: Store) -> Store:
    """The store itself; UsageError where it is no folder of a file system."""
    local_folder(store)
    return store


def _absolute(base: Checkpoint) -> Checkpoint:
    """The same model, as a worker and a later user find it: a local folder by its whole path."""
    folder = Path(base.name).expanduser()
    return Checkpoint(str(folder.absolute())) if folder.is_dir() else base


def with_names(samples: Samples, labels: Labels) -> Labels:
    """The labels with all names that the pool's records have, sorted, unless they have names.

    UsageError where there are fewer than two classes, or no slot where slots are asked for.
    """
    if labels.named():
        return labels
    classes, slots = ray.get(_names.remote(samples.parts, labels))
    found = replace(labels, classes=classes, slot_names=slots)
    if not found.named():
        fields = " and ".join(repr(field) for field in (labels.label, labels.slots) if field)
        raise UsageError(
            f"a classifier tells two classes and more apart: in {samples.folder} the records that have {fields} have "
            f"{len(classes)} classes and {len(slots)} slots; name the record's fields by labels.label=... and "
            "labels.slots=..."
        )
    return found


@ray.remote(num_cpus=1)
def _names(parts: Parts, labels: Labels) -> tuple[tuple[str, ...], tuple[str, ...]]:
    classes, slots = set(), set()
    for table in read_samples(parts, np.arange(sum(parts.rows)), ["raw"]):
        for raw in table["raw"].to_pylist():
            try:
                label, told = labels.of(raw)
            except RowError:  # which training counts, and leaves out
                continue
            classes.add(label)
            slots.update(told)
    return tuple(sorted(classes)), tuple(sorted(slots))


def _tell_of_idle_epochs(trainer: Finetune, samples: int) -> None:
    """Says in which epochs nothing will be learnt; UsageError where that is so of all of them."""
    batch, steps = trainer.step_samples(samples), trainer.steps(samples)
    told = f"train: {samples:,} samples in batches of {batch:,}, steps an epoch: {steps:,}, epochs: {trainer.epochs}"
    try:
        idle = trainer.idle_epochs(samples)
    except ValueError as error:
        raise UsageError(f"{told}; {error}") from error
    if idle:
        least = replace(trainer, batch=None).step_samples(samples)
        advice = f"set batch={least}, or warmup=0" if least < batch else "set warmup=0"
        which = ", ".join(map(str, idle))
        say(f"{told}. All steps of epoch {which} have learning rate 0, so that nothing is learnt in it: {advice}")


def _epochs(folder: Path, trainer: Finetune) -> list[Path]:
    return [folder / f"epoch-{epoch}" for epoch in range(1, trainer.epochs + 1)]


def _outcome(folder: Path, trainer: Finetune) -> Outcome | None:
    """What became of the run; None where it has not ended, or an epoch has been taken away since."""
    path = folder / OUTCOME
    whole = path.is_file() and all((epoch / FACTS).is_file() for epoch in _epochs(folder, trainer))
    return Outcome(**json.loads(path.read_text())["outcome"]) if whole else None


def _run(samples: Samples, session: Session, trainer: Finetune, ids: np.ndarray, folder: Path) -> Outcome:
    profile = session.profile
    workers, gpus = profile.train_workers, profile.train_gpus
    training = Training(
        trainer,
        samples.parts,
        ids,
        str(folder),
        allowed=session.max_errors * len(ids),
        device="cuda" if gpus else "cpu",
        threads=profile.train_threads or max(1, int(largest_node_cpus()) // workers),
        tokens=profile.train_tokens,
        layout=profile.train_layout,
    )
    each = f"{gpus:g} GPUs" if gpus else f"{training.threads} CPU threads"
    say(f"train: {len(ids):,} samples, epochs: {trainer.epochs}, workers: {workers} with {each} each, in {folder}")
    one = alone.options(num_gpus=gpus)
    try:
        _wait(one.remote(training) if workers == 1 else together.remote(training, workers, gpus), folder, trainer)
    except RayTaskError as error:
        if isinstance(error.cause, WinnowError):
            raise error.cause from error
        raise failure(f"train: {cause(error)}", error, session) from error
    except RayError as error:
        raise failure(f"train: {cause(error)}. {kept(folder)}", error, session) from error
    outcome = _outcome(folder, trainer)
    if outcome is None:
        raise WinnowError(f"the workers left no whole run in {folder}; is it a folder that all nodes share?")
    return outcome


def _wait(task: Any, folder: Path, trainer: Finetune) -> None:
    """Returns when the task has ended, as it ended; says how far it is in the meantime."""
    said = ""
    while not ray.wait([task], timeout=REPORT_SECONDS)[0]:
        line = _progress(folder / LOSSES, trainer)
        if line != said:
            say(line)
        said = line
    ray.get(task)


def _progress(losses: Path, trainer: Finetune) -> str:
    lines = losses.read_text().splitlines() if losses.exists() else []
    if not lines:
        return "  train: reading and tokenizing samples, loading the model"
    last = json.loads(lines[-1])
    return f"  train: step {last['step']:,}, in epoch {last['epoch']} of {trainer.epochs}: loss {last['loss']:.4f}"


def write_checkpoint(model: Path, run: Path, out: Path) -> None:
    """Copies a model's folder (an epoch's, say) and the losses of its run into a folder, each file whole.

    Adam's moments, twice the size of what was trained, and a classifier's outcomes stay in the store.
    """
    files = [path for path in sorted(model.iterdir()) if path.is_file() and path.name not in (MOMENTS, OUTCOMES)]
    for path in [*files, run / LOSSES]:
        temporary = out / f".{path.name}.tmp"
        try:
            shutil.copyfile(path, temporary)
            temporary.replace(out / path.name)
        finally:
            temporary.unlink(missing_ok=True)
