"""How many tokens a model has positions for: against models that are run to that limit, and checks that load none."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.gradients.gradient import Gradient
from operators.gradients.gradient_norm import GradientNorm
from operators.losses.class_error import ClassError
from operators.losses.loss import Loss
from operators.positions import positions, refuse_too_many, sample_tokens
from operators.scoring.reward import Reward
from operators.scoring.scorer import Scorer
from operators.supervision.labels import Labels
from operators.training.finetune import Finetune
from tests.tiny import tiny_causal, tiny_encoder, tiny_reward


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "XLMRoberta", "Camembert", "MPNet", "GPT2", "DebertaV2", "T5"])
def test_positions_are_as_many_as_the_model_computes(tmp_path, kind):
    import torch
    import transformers

    shape: dict[str, Any] = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 8, "max_position_embeddings": 20}
    match kind:
        case "GPT2":
            shape = {"vocab_size": 40, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 20}
        case "DebertaV2":
            shape |= {"position_biased_input": False, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
        case "T5":
            shape = {"vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
            shape |= {"n_positions": 20}
    cls = transformers.T5EncoderModel if kind == "T5" else getattr(transformers, f"{kind}Model")
    model = cls(getattr(transformers, f"{kind}Config")(**shape)).eval()
    model.save_pretrained(tmp_path)
    bound = positions(json.loads((tmp_path / "config.json").read_text()))
    assert bound == positions(model.config.to_dict())

    def computed(tokens: int) -> int:
        with torch.inference_mode():
            return model(input_ids=torch.full((1, tokens), 7)).last_hidden_state.shape[1]

    if bound is None:
        assert kind in ("DebertaV2", "T5")
        assert computed(100) == 100
        return
    assert computed(bound) == bound
    with pytest.raises((IndexError, RuntimeError)):
        computed(bound + 1)


def test_positions_of_configurations_that_say_little():
    assert positions({}) is None
    assert positions({"model_type": "roberta", "max_position_embeddings": 514}) == 512
    assert positions({"model_type": "gemma3", "text_config": {"max_position_embeddings": 77}}) == 77


def test_a_sample_has_2048_tokens_or_as_many_as_the_model_has_positions_unless_a_number_is_asked_for():
    assert sample_tokens({}, None, "m") == 2048
    assert sample_tokens({"max_position_embeddings": 8192}, None, "m") == 2048
    assert sample_tokens({"max_position_embeddings": 512}, None, "m") == 512
    assert sample_tokens({"max_position_embeddings": 8192}, 4096, "m") == 4096
    with pytest.raises(ValueError, match="max_tokens=513, but m has 512 positions; give that many or fewer"):
        sample_tokens({"max_position_embeddings": 512}, 513, "m")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    made = {"causal": tiny_causal, "encoder": tiny_encoder, "llama": lambda folder: tiny_reward(folder, "llama")}
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in made.items()}


def test_everything_that_cuts_texts_refuses_more_tokens_than_positions_before_it_loads_a_model(folders):
    causal, encoder, reward = (Checkpoint(str(folders[name])) for name in ("causal", "encoder", "llama"))
    labels = Labels("task", classes=("a", "b"))
    declared = {
        ClassError(encoder, labels): 65,  # of 66, as a RoBERTa has no use for its first
        Embed(model=encoder): 65,
        Finetune(causal): 256,
        Finetune(encoder, lora=None, labels=labels): 65,
        Gradient(causal, causal): 256,
        GradientNorm(causal, of="head"): 256,
        Loss(causal): 256,
        Reward(model=reward, max_tokens=None): 256,
        Scorer(model=causal): 256,
    }
    for declaration, bound in declared.items():
        for wanted in (None, 2, bound):
            replace(declaration, max_tokens=wanted).check()
        with pytest.raises(ValueError, match=f"max_tokens={bound + 1}, but .* has {bound} positions"):
            replace(declaration, max_tokens=bound + 1).check()
    code = f"""
import sys
from operators.positions import refuse_too_many
from operators.checkpoint import Checkpoint
refuse_too_many(Checkpoint({str(folders["causal"])!r}), 9)
print(*(name for name in ("torch", "transformers") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_model_whose_configuration_is_not_there_is_not_refused_for_its_tokens(tmp_path, folders):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    refuse_too_many(Checkpoint(str(adapter)), 10**6)


def test_the_weights_are_trained_and_read_to_the_same_token_by_the_defaults(folders):
    from operators.training.model import untrained_model
    from tests.batches import batch

    table = batch([("Name a river.", "Дунай. " * 300)])
    (value,) = Loss(Checkpoint(str(folders["causal"]))).load()(table)
    assert value["truncated"]
    (asked_for,) = Loss(Checkpoint(str(folders["causal"])), max_tokens=256).load()(table)
    assert value["tokens"] == asked_for["tokens"] > 200
    labels = Labels("task", classes=("a", "b"))
    untrained_model(Finetune(Checkpoint(str(folders["encoder"])), lora=None, labels=labels))
    with pytest.raises(ValueError, match="has 65 positions"):
        untrained_model(Finetune(Checkpoint(str(folders["encoder"])), lora=None, labels=labels, max_tokens=66))
