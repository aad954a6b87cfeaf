"""The sizes of a model on which its memory depends, from its configuration; no weights are read."""

import functools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from operators.checkpoint import Checkpoint
from operators.positions import positions
from operators.quantised import QUANTISED, quantised_by
from operators.training.finetune import LoRA

if TYPE_CHECKING:
    from operators.models.memory import Shape


@dataclass(frozen=True)
class Sizes:
    """What of a model's configuration its memory depends on."""

    parameters: int
    body: int
    """Those of an embedder, which has no language head, and of an encoder and decoder only the encoder."""
    layer: int
    """Those of the largest layer."""
    ends: int
    """Those of the largest part outside the layers that training gathers at once: the embeddings, or the head."""
    tied: bool
    """Whether embeddings and head are one matrix."""
    linear: tuple[tuple[str, int], ...]
    """For each linear layer the last part of its name, and the sum of its input's and its output's width."""
    shape: "Shape"
    positions: int | None = None
    """The most tokens of an input; None for no bound."""
    stored: int | None = None
    """The bytes of quantised weights in their files; None where they are not quantised."""

    @classmethod
    def of(cls, config: Any) -> "Sizes":
        """The sizes of a model with this configuration (an object of transformers), which is built without memory."""
        import torch  # noqa: PLC0415 - a profile can be read without it
        from transformers import AutoModelForTextEncoding  # noqa: PLC0415
        from transformers.pytorch_utils import Conv1D  # noqa: PLC0415

        from operators.embedding.encoder import WITH_A_DECODER  # noqa: PLC0415
        from operators.models.loading import attention  # noqa: PLC0415
        from operators.models.memory import Shape  # noqa: PLC0415

        encoder = config.model_type in WITH_A_DECODER
        with torch.device("meta"):
            model = _class_of(config).from_config(config, **attention(config))
            embedder = AutoModelForTextEncoding.from_config(config) if encoder else model.base_model
        linear = [
            (name.rsplit(".", 1)[-1], sum(layer.weight.shape))
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear | Conv1D)
        ]
        layer, ends, tied = _gathered(model)
        return cls(
            parameters=_count(model),
            body=_count(embedder),
            layer=layer,
            ends=ends,
            tied=tied,
            linear=tuple(linear),
            shape=Shape.of(model.config),
            positions=positions(config.to_dict()),
        )

    @classmethod
    def here(cls, model: Checkpoint) -> "Sizes | None":
        """The sizes of a model by its config.json; None where they cannot be known on this machine.

        They are unknown without the file, for a class of models that transformers does not have, and for quantised
        weights whose files are not here.
        """
        config = model.config_here()
        found = None if config is None else _sizes(json.dumps(config, sort_keys=True))
        if config is None or found is None or quantised_by(config) is None:
            return found
        stored = model.weights_here()
        return replace(found, stored=stored) if stored else None

    def adapter(self, lora: LoRA) -> int:
        """The parameters of a LoRA adapter."""
        return lora.rank * sum(widths for name, widths in self.linear if name in lora.modules)


@functools.cache
def _sizes(config: str) -> Sizes | None:
    """The sizes of a model with this config.json; None where it says too little."""
    from transformers import AutoConfig  # noqa: PLC0415

    read = {name: value for name, value in json.loads(config).items() if name not in QUANTISED}
    try:
        return Sizes.of(AutoConfig.for_model(**read))
    except Exception:  # noqa: BLE001 - what a model of another library lacks; loading it says what is wrong
        return None


def _class_of(config: Any) -> Any:
    """The auto class of the models with this configuration: language models have their head, encoders have none."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM  # noqa: PLC0415

    masked = type(config) in AutoModelForMaskedLM._model_mapping
    return AutoModelForCausalLM if type(config) in AutoModelForCausalLM._model_mapping and not masked else AutoModel


def _gathered(model: Any) -> tuple[int, int, bool]:
    """What training gathers at once of a sharded model (operators/training/ranks.py): `layer`, `ends` and `tied`.

    Of a model without a list of layers, which cannot be sharded, 0 is its largest layer.
    """
    from operators.training.ranks import ends, transformer_layers  # noqa: PLC0415

    try:
        layers = list(map(_count, transformer_layers(model)))
    except ValueError:
        layers = [0]
    alone = [_count(each) for each in ends(model) if each is not None]
    rest = _count(model) - sum(layers) - sum(alone)
    return max(layers), max([rest, *alone]), not alone


def _count(model: Any) -> int:
    """The number of a model's parameters."""
    return sum(each.numel() for each in model.parameters())
