"""How well a model that a run has fine-tuned predicts the responses of held-out samples.

<store>/held_out/<fingerprint>.json    the loss of one model on one file, so that it is computed once
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from jobs.engine.execute.failure import told
from jobs.engine.execute.gpus import hide_other_gpus, task
from jobs.engine.pool.pool import Pool
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.terminal.errors import UsageError, WinnowError, allowed_by
from jobs.methods.remembered import remembered
from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.losses.loss import Loss
from operators.training.finetune import Finetune


@dataclass(frozen=True)
class HeldOut:
    """A file of held-out samples."""

    pool: Pool

    @classmethod
    def read(cls, pool: Pool, file: str) -> "HeldOut":
        """The samples of a file, beside a pool; UsageError where it has none."""
        beside = pool.beside(file)
        if not beside.samples:
            raise UsageError(f"{file} has no sample to compute a loss of")
        return cls(beside)

    def loss(self, trainer: Finetune, epoch: Checkpoint) -> float:
        """The mean over the samples of the mean loss of their response tokens (nats), after an epoch of the trainer.

        From the store, or computed on a worker. WinnowError where more samples than `max_errors` allows have none.
        """
        return self._found(trainer, epoch)["loss"]

    def losses(self, trainer: Finetune, epoch: Checkpoint) -> np.ndarray:
        """(n,) the mean loss of each sample, by id, NaN for a sample without one; otherwise as `loss`."""
        return np.array(self._found(trainer, epoch)["losses"], np.float64)

    def _found(self, trainer: Finetune, epoch: Checkpoint) -> dict[str, Any]:
        model, adapter = (epoch, None) if trainer.lora is None else (trainer.base, epoch)
        loss = Loss(model, adapter, trainer.template, trainer.max_tokens)
        session = self.pool.session
        identity = {"held_out": 2, "loss": loss.fingerprint(), "pool": self.pool.origin.identity("conversation")}
        found = remembered(session, "held_out", identity, lambda: self._computed(loss))
        if not found["samples"] or found["failed"] > allowed_by(session.max_errors, self.pool.samples):
            raise WinnowError(
                f"held-out loss: {found['failed']:,} of {self.pool.samples:,} samples have none; {found['example']}"
            )
        return found

    def _computed(self, loss: Loss) -> dict[str, Any]:
        session = self.pool.session
        execution = session.profile.execution(loss)
        remote = LOSS.on(execution.gpus).options(num_gpus=execution.gpus, memory=execution.memory)
        with told("held-out loss", session):
            return ray.get(remote.remote(loss, self.pool.parts, self.pool.ids))


def loss_here(loss: Loss, parts: Parts, ids: np.ndarray) -> dict[str, Any]:
    """The mean loss of the samples with these ids, computed in this worker, and that of each; how many have none."""
    hide_other_gpus()
    compute = loss.load()
    losses: list[float | None] = []
    errors = []
    for table in read_samples(parts, ids, ["id", "messages"]):
        for value in compute(table):  # type: ignore[arg-type]
            losses.append(None if isinstance(value, RowError) else value["nll_mean"])
            errors += [str(value)] if isinstance(value, RowError) else []
    means = [each for each in losses if each is not None]
    mean = float(np.mean(means)) if means else 0.0
    counts = {"samples": len(means), "failed": len(errors), "example": "".join(errors[:1])}
    return {"loss": mean, "losses": losses, **counts}


LOSS = task(loss_here)
