"""The maximum number of tokens of a model's input, from its configuration only; no weights are read."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from operators.checkpoint import Checkpoint

USUAL_TOKENS = 2048
"""The default maximum number of tokens of a sample, with which LESS trains and takes gradients."""

SampleTokens = Annotated[int, Field(ge=2)] | None
"""The maximum number of tokens of a sample; None: USUAL_TOKENS, or the model's positions where they are fewer."""

FROM_PADDING = frozenset((
    "camembert", "data2vec-text", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
))  # fmt: skip
"""RoBERTa and similar models: positions are counted from the id of the padding token plus one, so some are unused."""

BY_ANOTHER_NAME = frozenset({"codegen", "ctrl", "gpt2", "gpt_bigcode", "gptj", "openai-gpt"})
"""The models whose file has `n_positions`. T5's has it too, but T5 uses the distance between tokens only."""


def positions(config: Mapping[str, Any]) -> int | None:
    """The maximum number of tokens of an input, by the config.json of a model; None where it has no such bound."""
    config = config.get("text_config") or config
    # DeBERTa-v3 uses only the distance between two tokens, in buckets: a text may have any length.
    if not config.get("position_biased_input", True):
        return None
    kind = config.get("model_type") or ""
    known = config.get("max_position_embeddings")
    if known is None and kind in BY_ANOTHER_NAME:
        known = config.get("n_positions")
    if known is None or kind not in FROM_PADDING:
        return known
    padding = config.get("pad_token_id")
    return known - (1 if padding is None else padding) - 1


def token_limit(config: Mapping[str, Any], wanted: int | None, name: str) -> int | None:
    """The maximum number of tokens of an input: `wanted`, else the positions of the model; None for no bound.

    name: of the model, for the message. ValueError where `wanted` exceeds the positions of the model.
    """
    bound = positions(config)
    if wanted is not None and bound is not None and wanted > bound:
        raise ValueError(
            f"max_tokens={wanted}, but {name} has {bound} positions; give that many or fewer, "
            "or null for as many as it takes"
        )
    return bound if wanted is None else wanted


def sample_tokens(config: Mapping[str, Any], wanted: int | None, name: str) -> int:
    """The maximum number of tokens of a sample: `wanted`, else USUAL_TOKENS or, where fewer, the model's positions.

    ValueError as `token_limit`.
    """
    limit = token_limit(config, wanted, name)
    return min(USUAL_TOKENS, limit or USUAL_TOKENS) if wanted is None else wanted


def refuse_too_many(model: Checkpoint, wanted: int | None) -> None:
    """Raises ValueError where `wanted` exceeds the positions of the model; of a hub model only config.json is read."""
    if wanted is not None:
        token_limit(model.config(), wanted, model.name)
