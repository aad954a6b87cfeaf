"""An epoch as a whole model: its adapter is merged into the base, for what reads no adapters (a Scorer, vLLM).

<store>/trained/<run>/whole/epoch-3/    weights, configuration, tokenizer
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from jobs.engine.execute.gpus import hide_other_gpus
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.train.checkpoints import is_whole
from operators import remote
from operators.checkpoint import Checkpoint
from operators.training.files import MOMENTS
from operators.training.finetune import Finetune


def whole_model(trainer: Finetune, epoch: Checkpoint) -> Checkpoint:
    """An epoch's whole model.

    An adapter is merged into its base and stored beside the epochs, once. WinnowError where that fails.
    """
    if trainer.lora is None:
        return epoch
    run, _, name = epoch.name.rpartition("/")
    folder = Folder(f"{run}/whole/{name}")
    if not is_whole(folder):
        try:
            ray.get(_merged.remote(trainer, epoch, folder))
        except RayTaskError as error:
            raise WinnowError(f"the adapter in {epoch.name} could not be added to its base: {error.cause}") from error
    return Checkpoint(folder.url)


@ray.remote(num_cpus=1, max_retries=0)
def _merged(trainer: Finetune, epoch: Checkpoint, folder: Folder) -> None:
    hide_other_gpus()
    if folder.local:
        done = Path(folder.url)
        half = done.with_name(f".{done.name}")
        shutil.rmtree(half, ignore_errors=True)
        _merge(trainer, epoch.folder(), half)
        half.rename(done)
        return
    with tempfile.TemporaryDirectory() as half:
        _merge(trainer, epoch.folder(), Path(half))
        remote.put(Path(half), folder.url)


def _merge(trainer: Finetune, epoch: Path, half: Path) -> None:
    """Writes the whole model of an adapter into a folder of this machine."""
    from operators.training.model import trained_model  # noqa: PLC0415 - torch is for the worker

    # In float32: bfloat16 would round the small values of an adapter away.
    adapted = trained_model(replace(trainer, precision="float32"), epoch)
    _untie(adapted)
    adapted.merge_and_unload().save_pretrained(half)
    for path in epoch.iterdir():
        if not path.name.startswith("adapter_") and path.name != MOMENTS:
            shutil.copyfile(path, half / path.name)


def _untie(adapted: Any) -> None:
    """Gives a head that has an adapter a matrix of its own: merged into the embeddings', it would change these too."""
    from torch import nn  # noqa: PLC0415 - as above

    head, embeddings = adapted.get_output_embeddings(), adapted.get_input_embeddings()
    if hasattr(head, "base_layer") and head.base_layer.weight is embeddings.weight:
        head.base_layer.weight = nn.Parameter(embeddings.weight.detach().clone(), requires_grad=False)
        adapted.config.get_text_config().tie_word_embeddings = False
        adapted.config.tie_word_embeddings = False
