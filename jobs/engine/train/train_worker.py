"""The workers of a training run: one process in a Ray task, or several processes as the ranks of Ray Train.

Each of them reads and tokenizes its share of the samples. They send one another the tokens, because a rank takes its
share of every step's passes, and of which samples a pass is depends on their lengths (operators/training/loop.py).
"""

# ruff: noqa: PLC0415 - the driver needs neither torch nor Ray Train

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import ray
from pyarrow.fs import FSSpecHandler, PyFileSystem

from jobs.engine.execute.gpus import NONE, VISIBLE, hide_other_gpus, task
from jobs.engine.samples.reading import Parts
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import OverErrorBudget, WinnowError
from jobs.engine.terminal.place_errors import regardless
from jobs.engine.train.run_folder import run_folder
from jobs.engine.train.tokenized import Tokenized, tokenized
from operators.base import described
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.training.files import epoch_facts
from operators.training.finetune import Activations, Finetune, Layout

if TYPE_CHECKING:
    from ray.train.torch import TorchConfig

PATIENCE_SECONDS = 6 * 3600
"""How long ranks wait for one another, and Ray Train for a rank that does not reply: the time in which rank 0 writes an
epoch, which has 84 GB for 7B parameters with Adam's moments. Ray Train notices a rank that died without this."""
OUTCOME = "outcome.json"
NOTHING = "nothing_to_supervise"


@dataclass(frozen=True)
class Training:
    """What each process of a run is given."""

    trainer: Finetune
    parts: Parts
    ids: np.ndarray
    """(samples,) int64, ascending."""
    folder: str
    allowed: int
    """The number of samples that may be left out because of errors; those with nothing to supervise do not count."""
    device: str
    threads: int
    tokens: int
    layout: Layout = "copies"
    activations: Activations = "kept"


def how_to_go_on(folder: Folder | str) -> str:
    """What an error message says about the epochs that are done."""
    return f"Whole epochs are kept in {folder}, and the same command goes on after the last one."


def train_here(training: Training) -> None:
    """Trains in this worker, alone or as a rank of several."""
    hide_other_gpus()
    carry_out(training)


# Ray counts one CPU for any number of threads, as for a reduce. A task that fails is not retried: its error is shown.
ALONE = task(train_here, max_retries=0)


# The process ends with the call, because Ray Train leaves a signal handler in it.
@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def together(training: Training, workers: int, gpus: float) -> None:
    """Trains in several workers, with `gpus` GPUs each, which add their gradients up."""
    hide_other_gpus()
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(PATIENCE_SECONDS))
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

    own = Folder(training.folder).inner(".ray")
    fs, root = own.opened()
    resources = {"CPU": 1.0, **({"GPU": gpus} if gpus else {})}
    group = TorchTrainer(
        lambda: train_here(training),
        torch_config=process_group(gpus),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=resources),
        run_config=RunConfig(
            name="run",
            storage_path=root,
            storage_filesystem=PyFileSystem(FSSpecHandler(fs)),
            # Ray Train looks for GPUs before it calls `train_here`, and a process that did has them in view to its end.
            worker_runtime_env={} if gpus else {"env_vars": {VISIBLE: NONE}},
        ),
    )
    try:
        group.fit()
    except TrainingFailedError as error:
        failures = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else []
        known = next((failure for failure in failures if isinstance(failure, WinnowError)), None)
        raise known or WinnowError(f"train: {error}. {how_to_go_on(training.folder)}") from None
    finally:
        with regardless():
            own.remove()


def process_group(gpus: float) -> "TorchConfig":
    """The group of torch.distributed that the ranks form."""
    from ray.train.torch import TorchConfig

    return TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=PATIENCE_SECONDS)


def carry_out(training: Training) -> None:
    """Trains, as one process or as a rank of several, and writes outcome.json; WinnowError says what went wrong."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    from operators.positions import sample_tokens
    from operators.supervision.labels import Labelling
    from operators.supervision.supervised import Supervision
    from operators.training import ranks
    from operators.training.loop import train
    from operators.training.model import refuse_unfit

    trainer = training.trainer
    torch.set_num_threads(max(1, min(training.threads, os.cpu_count() or 1)))
    try:
        base = trainer.base.folder()
        refuse_unfit(trainer, training.layout, training.activations)  # tokenizing can take longer
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        config = AutoConfig.from_pretrained(base, local_files_only=True).get_text_config().to_dict()
        limit = sample_tokens(config, trainer.max_tokens, trainer.base.name)
        if trainer.labels is None:
            supervision = Supervision(tokenizer, trainer.template, limit)
            samples = tokenized(training.parts, training.ids, ("messages",), supervision, ranks.here())
        else:
            labelling = Labelling(tokenizer, trainer.labels, limit)
            samples = tokenized(training.parts, training.ids, ("messages", "raw"), labelling, ranks.here())
        _refuse(samples, training)
        with run_folder(training.folder, trainer) as run:
            epochs = train(
                trainer,
                samples,
                run.path,
                tokens=training.tokens,
                device=training.device,
                layout=training.layout,
                activations=training.activations,
                moments="every" if trainer.lora else "latest",
                written=run.keep,
            )
            if ranks.here().rank == 0:
                _write_outcome(training, samples, limit, epochs[-1])
    except WinnowError:
        raise
    except Exception as error:  # the driver gets every error as text, because some cannot be pickled
        plain = isinstance(error, ValueError | OSError | ModelMissing)
        reason = str(error) if plain else f"{type(error).__name__}: {error}"
        raise WinnowError(f"train: {reason.rstrip('.')}. {how_to_go_on(training.folder)}") from error


def _refuse(samples: Tokenized, training: Training) -> None:
    """Raises WinnowError where no sample is left, and OverErrorBudget where errors took more than allowed."""
    if not len(samples):
        raise WinnowError(f"train: none of {len(training.ids):,} samples can be trained on; {samples.example}")
    failed = samples.left_out.total() - samples.left_out[NOTHING]
    if failed > training.allowed:
        raise OverErrorBudget(
            f"train: {failed:,} of {len(training.ids):,} samples have an error and max_errors allows "
            f"{training.allowed:,}; {samples.example}"
        )


def _write_outcome(training: Training, samples: Tokenized, max_tokens: int, epoch: Path) -> None:
    last = epoch_facts(Checkpoint(str(epoch)))
    outcome = {
        "samples": len(samples),
        "batch": last["batch"],
        "max_tokens": max_tokens,
        "left_out": dict(samples.left_out),
        "truncated": samples.truncated,
        "loss": last["loss"],
    }
    content = {"trainer": described(training.trainer), "asked": len(training.ids), "outcome": outcome}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    Folder(training.folder).write(OUTCOME, text.encode())
