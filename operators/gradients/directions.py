"""The directions of LESS's targets, as a file: one vector per subtask, which stands for its targets' gradients.

The mean over a subtask's targets goes inside the product with a sample's gradient (operators/kernels/influence.py). So
the cosines to all targets cost one product, and need no random projection. `targets.directions` writes such a file.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from operators import remote
from operators.base import STRICT
from operators.missing import ModelMissing

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from operators.gradients.per_sample import Layers

Aggregate = Literal["mean_of_cosines", "cosine_of_mean"]
"""How a subtask's targets become one vector (operators/kernels/influence.py)."""


@dataclass(frozen=True, config=STRICT)
class Directions:
    """A file of directions, by its path or URL: for each subtask, the vector that stands for its targets' gradients."""

    file: str

    def identity(self) -> dict[str, str]:
        """The hash of the file's content; the path of the file is not part of it."""
        with self._path().open("rb") as file:
            return {"content": hashlib.file_digest(file, "sha256").hexdigest()}

    def subtasks(self) -> list[str]:
        """The subtasks' names, in the order of the cosines."""
        from safetensors import safe_open

        with safe_open(self._path(), "pt") as file:
            return json.loads(file.metadata()["subtasks"])

    def tensors(self, device: "torch.device") -> dict[str, "Tensor"]:
        """The directions by parameter, (subtasks, p) each, in the precision of the device."""
        from safetensors import safe_open

        with safe_open(self._path(), "pt", device=str(device)) as file:  # one by one: together they may not fit
            return {name: file.get_tensor(name).to(precision_on(device)) for name in file.keys()}  # noqa: SIM118

    def check(self) -> None:
        """Raises ModelMissing where the file is not there."""
        self._path()

    def _path(self) -> Path:
        if remote.is_url(self.file):
            try:
                return remote.local_file(self.file)
            except FileNotFoundError:
                raise ModelMissing(f"directions {self.file}: there is no such file") from None
        path = Path(self.file).expanduser()
        if not path.is_file():
            raise ModelMissing(f"directions {self.file}: there is no such file")
        return path


def precision_on(device: "torch.device") -> "torch.dtype":
    """The dtype of directions on a device: float32 on a CPU, bfloat16 on a GPU.

    In float32 the directions of 57 subtasks take 25 GB for LESS's adapter of an 8B model. Rounded coordinates differ
    from the exact ones at random, so a cosine changes by less than 0.001.
    """
    import torch

    return torch.float32 if device.type == "cpu" else torch.bfloat16


def fitting_directions(directions: Directions, layers: "Layers") -> dict[str, "Tensor"]:
    """The directions by parameter, on the layers' device; ValueError where they do not fit the layers' parameters."""
    from operators.gradients import per_sample

    found = directions.tensors(next(iter(layers.values())).weight.device)
    sizes = {name: parameter.numel() for name, parameter in per_sample.parameters(layers).items()}
    if sizes != {name: part.shape[1] for name, part in found.items()}:
        raise ValueError(
            f"the directions in {directions.file} have {sum(part.shape[1] for part in found.values()):,} coordinates "
            f"of other parameters than the adapter's {sum(sizes.values()):,}"
        )
    return found
