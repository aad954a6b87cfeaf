"""The linear layers that some sentence encoders, Sentence-T5 among them, have after pooling."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ACTIVATIONS = {"Identity": lambda values: values, "Tanh": np.tanh}


@dataclass(frozen=True)
class Dense:
    """activation(weight · vector + bias), computed in float64, so that a row does not depend on the other rows."""

    weight: np.ndarray
    """(width out, width in)."""
    bias: np.ndarray
    activation: str

    @classmethod
    def read(cls, folder: Path) -> "Dense":
        """The module in a sentence-transformers folder; ValueError for an activation that is not known here."""
        from safetensors.numpy import load_file

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        activation = config.get("activation_function", "Identity").rsplit(".", 1)[-1]
        if activation not in ACTIVATIONS:
            raise ValueError(f"{folder}: activation {activation} is none of {', '.join(ACTIVATIONS)}")
        tensors = load_file(folder / "model.safetensors")
        weight = tensors["linear.weight"].astype(np.float64)
        return cls(weight, tensors.get("linear.bias", np.zeros(len(weight))).astype(np.float64), activation)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """The output of the layer for vectors (rows, width in): (rows, width out) float32."""
        return ACTIVATIONS[self.activation](vectors.astype(np.float64) @ self.weight.T + self.bias).astype(np.float32)
