"""How many tokens of a text a model has positions for, by its configuration alone: no weights are looked at."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from operators.checkpoint import Checkpoint

USUAL_TOKENS = 2048
"""A sample's most tokens where no number is asked for, as LESS trains and takes gradients."""

SampleTokens = Annotated[int, Field(ge=2)] | None
"""The tokens after which a sample is cut; None: USUAL_TOKENS, or as many as the model has positions for."""

FROM_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""RoBERTa and its kin: the first token has the position after the padding token's number, so that some have no use."""

BY_ANOTHER_NAME = frozenset({"codegen", "ctrl", "gpt2", "gpt_bigcode", "gptj", "openai-gpt"})
"""Those whose file says `n_positions`. T5's has that too, and knows only how far two tokens are apart."""


def positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens of an input of a model with this config.json; None where it has no such bound, or says none."""
    config = config.get("text_config") or config
    # DeBERTa-v3 knows only how far two tokens are apart, in buckets: a text may have any length.
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
    """The most tokens of an input: those wanted, else the model's positions, None where it has no such bound.

    ValueError where more are wanted than the model has positions for; name: the model's, for people.
    """
    bound = positions(config)
    if wanted is not None and bound is not None and wanted > bound:
        raise ValueError(
            f"max_tokens={wanted}, but {name} has {bound} positions; give that many or fewer, "
            "or null for as many as it takes"
        )
    return bound if wanted is None else wanted


def sample_tokens(config: Mapping[str, Any], wanted: int | None, name: str) -> int:
    """The tokens after which a sample is cut: those wanted, else USUAL_TOKENS, or all positions where they are fewer.

    ValueError as `token_limit`.
    """
    limit = token_limit(config, wanted, name)
    return min(USUAL_TOKENS, limit or USUAL_TOKENS) if wanted is None else wanted


def refuse_too_many(model: Checkpoint, wanted: int | None) -> None:
    """ValueError where more tokens are wanted than the model has positions for; of a hub's only config.json is had."""
    if wanted is not None:
        token_limit(model.config(), wanted, model.name)
