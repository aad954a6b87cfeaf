"""One training run: samples of a pool, tokenized by the workers that train on them, to one checkpoint per epoch.

A run that was stopped goes on after its last whole epoch. checkpoints.py says where the checkpoints lie, and
train_worker.py is what the workers do.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.model_room import refuse_without_room
from jobs.engine.execute.session import Session, largest_node_cpus
from jobs.engine.record.entries import declaration
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError, WinnowError, allowed_by
from jobs.engine.terminal.place_errors import regardless
from jobs.engine.terminal.screen import say
from jobs.engine.train.checkpoints import epoch_folders, training_folder, without_moments
from jobs.engine.train.label_names import with_names
from jobs.engine.train.train_worker import ALONE, OUTCOME, Training, how_to_go_on, together
from operators.checkpoint import Checkpoint
from operators.training.files import FACTS, LOSSES, MOMENTS
from operators.training.finetune import Finetune

REPORT_SECONDS = 30.0
Afterwards = Literal["use", "go on"]
"""What the last epoch is for: to be used as a model, or for another run to go on after it, too (`Finetune.after`)."""


@dataclass(frozen=True)
class Summary:
    """What a run trained on, and its last loss."""

    samples: int
    """The number of samples that were trained on."""
    batch: int
    """The number of samples per step."""
    max_tokens: int
    """The number of tokens after which a sample was cut."""
    left_out: dict[str, int]
    """The number of samples that were not trained on, by the kind of error."""
    truncated: int
    """The number of samples that were cut."""
    loss: float
    """The mean over the steps of the last epoch."""

    def told(self) -> str:
        """The summary in words."""
        left = sum(self.left_out.values())
        why = f" ({', '.join(f'{kind} {count:,}' for kind, count in self.left_out.items())})" if left else ""
        return (
            f"{self.samples:,} samples, {self.truncated:,} of them cut at {self.max_tokens:,} tokens, "
            f"{left:,} left out{why}; batches of {self.batch:,}; loss {self.loss:.4f} in the last epoch"
        )


def trained(
    samples: Samples, session: Session, trainer: Finetune, ids: np.ndarray, afterwards: Afterwards = "use"
) -> tuple[Checkpoint, ...]:
    """The checkpoints of all epochs, in order, trained now or found in the store.

    A classifier learns all labels that the pool's records have, unless its trainer names them. Where all weights are
    trained, Adam's moments of the last epoch are kept if a run goes on after it, and those of no other epoch.

    ModelMissing where the base is not there. UsageError where the pool has fewer than two classes, or no slots, for
    more tokens than the base has positions, and where no step would have a learning rate above 0. OverErrorBudget where
    more samples than `max_errors` allows cannot be written in the template. WinnowError for other errors; it names the
    samples whose loss is not finite.
    """
    began = time.monotonic()
    trainer = _completed(trainer, samples)
    ids = np.unique(np.asarray(ids, np.int64))
    if not len(ids):
        raise UsageError("there is no sample to train on")
    folder = training_folder(samples, session.store, trainer, ids)
    found = _found(folder, trainer, afterwards)
    _warn_of_idle_epochs(trainer, len(ids))
    if found is None:
        refuse_without_room({"train": trainer}, session)
        summary = _run(samples, session, trainer, ids, folder)
        *earlier, last = epoch_folders(folder, trainer)
        for epoch in [*earlier, *([last] if afterwards == "use" else [])] if trainer.lora is None else []:
            without_moments(epoch)  # also those that a run left which was cut off
    else:
        say(f"train: {folder} has all {trainer.epochs} epochs")
        summary = found
    say(f"train: {summary.told()}")
    session.log.append(
        {
            "train": trainer.base.name,
            **declaration(trainer),
            "pool": samples.folder,
            "samples": len(ids),
            "stored": len(ids) if found else 0,
            "computed": 0 if found else summary.samples,
            "left_out": summary.left_out,
            "truncated": summary.truncated,
            "epochs": trainer.epochs,
            "batch": summary.batch,
            "max_tokens": summary.max_tokens,
            "loss": summary.loss,
            "folder": folder.url,
            "seconds": round(time.monotonic() - began, 2),
        }
    )
    return tuple(Checkpoint(epoch.url) for epoch in epoch_folders(folder, trainer))


def _completed(trainer: Finetune, samples: Samples) -> Finetune:
    """The trainer, checked, with absolute paths, and with the names of the labels that the samples have."""
    try:
        trainer.check()
    except ValueError as error:
        raise UsageError(f"train: {error}") from error
    labels = trainer.labels and with_names(samples, trainer.labels)
    return replace(
        trainer, base=_absolute(trainer.base), after=trainer.after and _absolute(trainer.after), labels=labels
    )


def _found(folder: Folder, trainer: Finetune, afterwards: Afterwards) -> Summary | None:
    """The summary of a run that has ended; None where it has to be trained, for which its old epochs are removed."""
    found, all_epochs = _summary(folder, trainer), epoch_folders(folder, trainer)
    if found and afterwards == "go on" and not all_epochs[-1].exists(MOMENTS):
        say(f"train: nothing can go on after the epochs in {folder}, because Adam's moments were not kept")
        folder.remove(OUTCOME)
        for epoch in all_epochs:
            epoch.remove()
        return None
    return found


def _absolute(base: Checkpoint) -> Checkpoint:
    """The same model, as workers and later users find it: a local folder by its absolute path."""
    folder = Path(base.name).expanduser()
    return Checkpoint(str(folder.absolute())) if folder.is_dir() else base


def _warn_of_idle_epochs(trainer: Finetune, samples: int) -> None:
    """Says which epochs would train nothing; UsageError where none of them would train anything."""
    batch, steps = trainer.step_samples(samples), trainer.steps(samples)
    plan = f"train: {samples:,} samples in batches of {batch:,}, steps per epoch: {steps:,}, epochs: {trainer.epochs}"
    try:
        idle = trainer.idle_epochs(samples)
    except ValueError as error:
        raise UsageError(f"{plan}; {error}") from error
    if idle:
        least = replace(trainer, batch=None).step_samples(samples)
        advice = f"set batch={least}, or warmup=0" if least < batch else "set warmup=0"
        which = ", ".join(map(str, idle))
        say(f"{plan}. All steps of epoch {which} have learning rate 0, so that nothing is learnt in it: {advice}")


def _summary(folder: Folder, trainer: Finetune) -> Summary | None:
    """The summary of a run; None where it has not ended, or an epoch was removed since."""
    whole = folder.exists(OUTCOME) and all(epoch.exists(FACTS) for epoch in epoch_folders(folder, trainer))
    return Summary(**json.loads(folder.content(OUTCOME))["outcome"]) if whole else None


def _run(samples: Samples, session: Session, trainer: Finetune, ids: np.ndarray, folder: Folder) -> Summary:
    profile = session.profile
    workers, gpus = profile.train_workers, profile.train_gpus
    training = Training(
        trainer,
        samples.parts,
        ids,
        folder.url,
        allowed=allowed_by(session.max_errors, len(ids)),
        device="cuda" if gpus else "cpu",
        threads=profile.train_threads or max(1, int(largest_node_cpus()) // workers),
        tokens=profile.train_tokens,
        layout=profile.train_layout,
        activations=profile.train_activations,
    )
    each = f"{gpus:g} GPUs" if gpus else f"{training.threads} CPU threads"
    say(f"train: {len(ids):,} samples, epochs: {trainer.epochs}, workers: {workers} with {each} each, in {folder}")
    say_what_it_waits_for(workers * gpus)
    one = ALONE.on(gpus).options(num_gpus=gpus)
    try:
        _wait(one.remote(training) if workers == 1 else together.remote(training, workers, gpus), folder, trainer)
    except RayTaskError as error:
        if isinstance(error.cause, WinnowError):
            raise error.cause from error
        raise failure(f"train: {cause(error)}", error, session) from error
    except RayError as error:
        raise failure(f"train: {cause(error)}. {how_to_go_on(folder)}", error, session) from error
    summary = _summary(folder, trainer)
    if summary is None:
        raise WinnowError(f"the workers left no whole run in {folder}; is it a folder that all nodes share?")
    return summary


def say_what_it_waits_for(gpus: float) -> None:
    """Says so where the cluster has fewer GPUs now than a run takes: it has to start nodes first."""
    there = ray.cluster_resources().get("GPU", 0.0)
    if there < gpus:
        say(f"train: the cluster has {there:g} of {gpus:g} GPUs; waiting for nodes with the others ...")


def _wait(task: Any, folder: Folder, trainer: Finetune) -> None:
    """Waits for the task, and says from time to time how far it is; raises what the task raised."""
    said = ""
    while not ray.wait([task], timeout=REPORT_SECONDS)[0]:
        with regardless():  # a place that cannot be read now ends no training
            line = _progress(folder, trainer)
            if line != said:
                say(line)
            said = line
    ray.get(task)


def _progress(folder: Folder, trainer: Finetune) -> str:
    written = folder.content(LOSSES) if folder.exists(LOSSES) else b""
    lines = written[: written.rfind(b"\n") + 1].splitlines()  # the last may be half written, as on a full disk
    if not lines:
        return "  train: reading and tokenizing samples, loading the model"
    last = json.loads(lines[-1])
    return f"  train: step {last['step']:,}, in epoch {last['epoch']} of {trainer.epochs}: loss {last['loss']:.4f}"
