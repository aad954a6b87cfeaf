"""Models whose weights are stored in fewer bits than they are computed with, by their config.json."""

from collections.abc import Mapping
from typing import Any

QUANTISED = ("quantization_config", "compression_config")
"""The entries of config.json that say how weights are quantised."""


def quantised_by(config: Mapping[str, Any]) -> str | None:
    """The method by which a model's weights are quantised, such as fp8, awq or bitsandbytes; None where they are not.

    config: the content of config.json; a model of text and images has the part of its language model within it.
    """
    parts = (config, config.get("text_config") or {})
    found = next((each for part in parts for name in QUANTISED if (each := part.get(name))), None)
    return None if found is None else str(found.get("quant_method") or "in an unknown way")


def refuse_quantised(config: Mapping[str, Any], name: str) -> None:
    """Raises ValueError where the weights are quantised: as they are stored, they are no weights to compute with.

    name: of the model, for the message.
    """
    method = quantised_by(config)
    if method is not None:
        raise ValueError(
            f"the weights of {name} are quantised ({method}), which only vLLM reads here: give the model that it was "
            "made from, or a copy whose weights transformers has restored (model.dequantize())"
        )
