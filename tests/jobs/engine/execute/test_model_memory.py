"""The memory that models need on the GPUs of a profile, against small models by hand, and the page that shows it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    LlamaConfig,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from jobs.engine.execute import memory_table
from jobs.engine.execute.model_memory import needed, needed_by, refusal
from jobs.engine.execute.model_sizes import Sizes
from jobs.engine.execute.profile import Execution, Profile, profile
from operators.asking.judge import Judge
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.losses.loss import Loss
from operators.scoring.unieval import UniEval
from operators.training.finetune import LIKE_ALPACA, Finetune, LoRA
from operators.training.model import untrained_model
from tests.tiny import tiny_causal, tiny_unieval

ON_GPUS = Profile(default=Execution(gpus=1), train_gpus=1)
GIB = 2**30


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Checkpoint(str(tiny_causal(tmp_path_factory.mktemp("base"))))


def parameters(model, trained: bool) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad or not trained)


def test_a_training_needs_its_weights_gradients_and_two_moments(base):
    whole = Finetune(base, lora=None, max_tokens=64)
    count = parameters(untrained_model(whole), trained=True)
    found = needed(whole, ON_GPUS)
    assert (found.weights, found.gradients, found.moments) == (4 * count, 4 * count, 8 * count)
    shards = needed(whole, Profile(train_workers=4, train_gpus=1, train_layout="shards"))
    assert (shards.weights, shards.gradients, shards.moments) == (count, count, 2 * count)
    assert needed(whole, replace(ON_GPUS, train_activations="recomputed")).activations < found.activations


def test_an_adapter_is_trained_in_float32_beside_frozen_weights(base):
    adapted = Finetune(base, lora=LoRA(rank=4), max_tokens=64)
    model = untrained_model(adapted)
    trained = parameters(model, trained=True)
    frozen = parameters(model, trained=False) - trained
    found = needed(adapted, ON_GPUS)
    assert (found.weights, found.gradients, found.moments) == (2 * frozen + 4 * trained, 4 * trained, 8 * trained)


def test_a_judge_is_divided_among_the_gpus_of_its_worker():
    sizes = Sizes.of(LlamaConfig(vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4))
    one, two = (needed_by(Judge(context=100), Profile(default=Execution(gpus=gpus)), sizes) for gpus in (1, 2))
    assert one.weights == 2 * sizes.parameters == 2 * two.weights
    assert one.cache == 100 * 2 * 2 * 64 * 2 == 2 * two.cache


def test_an_encoder_with_a_decoder_needs_its_weights_and_a_pass(tmp_path):
    model = Checkpoint(str(tiny_unieval(tmp_path)))
    found = needed(UniEval(model), ON_GPUS)
    weights = T5ForConditionalGeneration.from_pretrained(model.name)
    assert found.weights == 4 * sum(weight.numel() for weight in weights.parameters())
    assert found.activations > 0


def test_an_embedder_needs_neither_a_language_head_nor_a_decoder():
    shape = {"vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes = Sizes.of(LlamaConfig(**shape))
    assert sizes.parameters - sizes.body == 1000 * 64
    config = T5Config(vocab_size=1000, d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2, num_decoder_layers=2)
    with torch.device("meta"):
        encoder = T5EncoderModel(config)
    assert Sizes.of(config).body == parameters(encoder, trained=False)
    found = needed_by(Embed(precision="float32"), ON_GPUS, sizes)
    assert found.held == 4 * sizes.body


def test_of_quantised_weights_a_judge_needs_what_their_files_have(base, tmp_path):
    folder = tmp_path / "awq"
    shutil.copytree(base.name, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"quantization_config": {"quant_method": "awq"}}))
    model = Checkpoint(str(folder))
    assert needed(Judge(model=model), ON_GPUS).weights == (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").unlink()
    assert needed(Judge(model=model), ON_GPUS) is None


def test_an_embedder_takes_texts_as_long_as_its_positions():
    shape: Any = {"vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes = Sizes.of(BertConfig(**shape, max_position_embeddings=8192))
    assert needed_by(Embed(), ON_GPUS, sizes).activations == 8192 * sizes.shape.body_bytes(4)
    assert needed_by(Embed(max_tokens=64), ON_GPUS, sizes).activations == 64 * sizes.shape.body_bytes(4)


def test_what_a_pass_gathers_of_shards_and_copies_for_autocast_is_counted():
    sizes = memory_table.sizes("4B")
    whole = replace(LIKE_ALPACA, precision="bfloat16")
    shards = Profile(train_workers=8, train_gpus=1, train_layout="shards")
    passes = 4096 * sizes.shape.backward_bytes(2)
    embeddings = 151936 * 2560
    gathered = needed_by(whole, shards, sizes).activations - passes
    assert embeddings * (4 + 4 + 2) < gathered < embeddings * (4 + 4 + 2 + 4) + 2e9  # two copies, the gradient, a sum
    assert needed_by(whole, ON_GPUS, sizes).activations - passes == 2 * sizes.parameters
    assert needed_by(replace(whole, precision="float32"), ON_GPUS, sizes).activations < 2 * passes
    frozen = needed_by(Finetune(Checkpoint("any")), shards, sizes).activations - passes
    assert 2 * embeddings <= frozen < gathered / 2


def test_what_is_on_no_gpu_needs_none_of_its_memory(base):
    assert needed(Loss(base), Profile()) is None
    assert needed(Finetune(base), Profile()) is None
    assert needed(Judge(model=base, endpoint="http://host"), ON_GPUS) is None


def test_a_model_that_does_not_fit_is_refused_with_what_to_do(base):
    assert refusal(Loss(base), ON_GPUS, 80 * GIB) is None
    assert "use a smaller model" in refusal(Loss(base), ON_GPUS, 1000)
    assert "train_layout: shards" in refusal(Finetune(base), ON_GPUS, 1000)
    assert "give Judge more gpus" in refusal(Judge(model=base), ON_GPUS, 1000)


def test_a_refusal_counts_what_every_sample_needs_and_names_a_profile_that_has_room(base):
    whole = Finetune(base, lora=None, max_tokens=64)
    found = needed(whole, ON_GPUS)
    assert found.held == 16 * needed_by(Loss(base), ON_GPUS, Sizes.here(base)).weights / 2 < found.total
    assert refusal(whole, ON_GPUS, found.held) is None  # whether a pass has room depends on the samples
    said = refusal(whole, ON_GPUS, found.held - 1)
    assert base.name in said
    assert "\n" not in said
    judge = Judge(model=base, context=16)
    card = 0.6 * needed(judge, ON_GPUS).held
    assert "--profile judge_70b has room" in refusal(judge, ON_GPUS, card)


def test_of_a_shared_gpu_a_worker_has_its_share(base):
    half = Profile(default=Execution(gpus=0.5))
    card = 1.5 * needed(Loss(base), ON_GPUS).held
    assert refusal(Loss(base), ON_GPUS, card) is None
    assert "of which a worker has 0.5" in refusal(Loss(base), half, card)
    assert needed(Judge(model=base), half) == needed(Judge(model=base), ON_GPUS)


def test_a_model_whose_size_is_not_known_here_is_not_refused(base, tmp_path):
    assert needed(Loss(Checkpoint("someone/never-downloaded")), ON_GPUS) is None
    settings = json.loads((Path(base.name) / "config.json").read_text())
    quantised = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    for number, other in enumerate(({"model_type": "of another library"}, quantised)):
        folder = tmp_path / str(number)
        shutil.copytree(base.name, folder)
        (folder / "config.json").write_text(json.dumps(settings | other))
        assert refusal(Loss(Checkpoint(str(folder))), ON_GPUS, 1) is None


def test_the_page_shows_the_table():
    page = Path(__file__).parents[4] / "docs" / "models.md"
    assert "\n".join(memory_table.lines()) in page.read_text()


def test_the_largest_models_of_a_profile_are_those_of_the_table():
    found = memory_table.largest_models(profile("gpu_8"), 80 * GIB)
    assert found == {"judge": "32B", "loss, score": "32B", "gradients": "8B", "LoRA": "14B", "all weights": "8B"}
    assert memory_table.largest_models(Profile(), 80 * GIB) == {}
    assert set(memory_table.largest_models(profile("gpu"), GIB).values()) == {None}
