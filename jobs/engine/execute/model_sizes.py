"""The sizes of a model on which its memory depends, from its configuration; no weights are read."""

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from operators.checkpoint import Checkpoint
from operators.training.finetune import LoRA

if TYPE_CHECKING:
    from operators.models.memory import Shape


@dataclass(frozen=True)
class Sizes:
    """What of a model's configuration its memory depends on."""

    parameters: int
    body: int
    """Those of an embedder, which has no language head, and of an encoder and decoder only the encoder."""
    linear: tuple[tuple[str, int], ...]
    """For each linear layer the last part of its name, and the sum of its input's and its output's width."""
    shape: "Shape"

    @classmethod
    def of(cls, config: Any) -> "Sizes":
        """The sizes of a model with this configuration (an object of transformers), which is built without memory."""
        import torch  # noqa: PLC0415 - a profile can be read without it
        from transformers import AutoModel, AutoModelForCausalLM, AutoModelForTextEncoding  # noqa: PLC0415

        from operators.embedding.encoder import WITH_A_DECODER  # noqa: PLC0415
        from operators.models.forward import linear_layers  # noqa: PLC0415
        from operators.models.memory import Shape  # noqa: PLC0415

        encoder = config.model_type in WITH_A_DECODER
        causal = type(config) in AutoModelForCausalLM._model_mapping
        kind = AutoModelForCausalLM if causal else AutoModel
        with torch.device("meta"):
            model = kind.from_config(config)
            embedder = AutoModelForTextEncoding.from_config(config) if encoder else model.base_model
        linear = [
            (name.rsplit(".", 1)[-1], layer.in_features + layer.out_features)
            for name, layer in linear_layers(model).items()
        ]
        whole, body = (sum(each.numel() for each in part.parameters()) for part in (model, embedder))
        return cls(whole, body, tuple(linear), Shape.of(config))

    @classmethod
    def here(cls, model: Checkpoint) -> "Sizes | None":
        """The sizes of a model by its config.json; None where they cannot be known on this machine.

        They are unknown without the file, for a class of models that transformers does not have, and for quantised
        weights, which have other sizes than their parameters say.
        """
        config = model.config_here()
        return None if config is None else _sizes(json.dumps(config, sort_keys=True))

    def adapter(self, lora: LoRA) -> int:
        """The parameters of a LoRA adapter."""
        return lora.rank * sum(widths for name, widths in self.linear if name in lora.modules)


@functools.cache
def _sizes(config: str) -> Sizes | None:
    """The sizes of a model with this config.json; None where it says too little."""
    from transformers import AutoConfig  # noqa: PLC0415

    read = json.loads(config)
    if read.get("quantization_config"):
        return None
    try:
        return Sizes.of(AutoConfig.for_model(**read))
    except Exception:  # noqa: BLE001 - what a model of another library lacks; loading it says what is wrong
        return None
