"""Models and tokenizers read from a folder; a model that would be random in part is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from operators import positions
from operators.models.precision import Precision
from operators.quantised import refuse_quantised


def loaded_model(
    folder: Path,
    kind: Any,
    dtype: torch.dtype,
    *,
    may_lack: Callable[[Any, str], bool] = lambda model, weight: False,
    config: Mapping[str, Any] | None = None,
) -> Any:
    """The model in the folder, on the CPU and in eval mode, without a cache of keys and values.

    kind: one of transformers' auto classes. dtype: of all weights. may_lack: whether a weight of the model, by its
    name, may be missing from the checkpoint; it is then random. config: entries that replace those of config.json.
    ValueError where another weight is missing, and for quantised weights.
    """
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    stored = AutoConfig.from_pretrained(folder, local_files_only=True)
    refuse_quantised(stored.to_dict(), f"the model in {folder}")
    model, report = kind.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **attention(stored),
        **(config or {}),
    )
    missing = sorted(weight for weight in report["missing_keys"] if not may_lack(model, weight))
    if missing:
        raise ValueError(f"the checkpoint in {folder} lacks {len(missing)} weights of its model, such as {missing[0]}")
    model.config.get_text_config().use_cache = False
    return model.eval()


def attention(config: Any) -> dict[str, str]:
    """The options of a class of models with which it computes its attention as it was trained.

    config: transformers' object. Where attention scores are capped, as in Gemma 2, torch's fused attention would leave
    the caps out without a word.
    """
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return {"attn_implementation": "eager"} if capped else {}


def placed_model(folder: Path, kind: Any, precision: Precision) -> Any:
    """The model in the folder as `loaded_model` returns it, on the GPU where there is one.

    On a CPU the precision "auto" is float32. ValueError where the checkpoint lacks a weight, such as the head.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    short = precision == "bfloat16" or (precision == "auto" and device.type == "cuda" and bfloat16_is_fast(device))
    return loaded_model(folder, kind, torch.bfloat16 if short else torch.float32).to(device)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16; where it does not, bfloat16 runs at a tenth of the speed of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16", "bf16"))


def fast_tokenizer(folder: Path) -> Any:
    """The tokenizer in the folder; ValueError where it cannot say which characters a token stands for."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not tokenizer.is_fast:
        raise ValueError(f"{folder} has no tokenizer.json: without it a long text cannot be cut at a token")
    return tokenizer


def token_limit(model: Any, wanted: int | None) -> int | None:
    """`positions.token_limit` of a loaded model."""
    return positions.token_limit(_configuration(model), wanted, model.config.name_or_path)


def sample_tokens(model: Any, wanted: int | None) -> int:
    """`positions.sample_tokens` of a loaded model."""
    return positions.sample_tokens(_configuration(model), wanted, model.config.name_or_path)


def _configuration(model: Any) -> dict[str, Any]:
    return model.config.get_text_config().to_dict()
