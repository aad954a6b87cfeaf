"""The memory that models need on the GPUs of a profile, against small models by hand, and the page that shows it."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaConfig, T5ForConditionalGeneration

from jobs.engine.execute import memory_table
from jobs.engine.execute.model_memory import Sizes, needed, needed_by, refusal
from jobs.engine.execute.profile import Execution, Profile
from operators.asking.judge import Judge
from operators.checkpoint import Checkpoint
from operators.losses.loss import Loss
from operators.scoring.unieval import UniEval
from operators.training.finetune import Finetune, LoRA
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


def test_what_is_on_no_gpu_needs_none_of_its_memory(base):
    assert needed(Loss(base), Profile()) is None
    assert needed(Finetune(base), Profile()) is None
    assert needed(Judge(model=base, endpoint="http://host"), ON_GPUS) is None


def test_a_model_that_does_not_fit_is_refused_with_what_to_do(base):
    assert refusal(Loss(base), ON_GPUS, 80 * GIB) is None
    assert "a smaller model" in refusal(Loss(base), ON_GPUS, 1000)
    assert "train_layout: shards" in refusal(Finetune(base), ON_GPUS, 1000)
    assert "more gpus for Judge" in refusal(Judge(model=base), ON_GPUS, 1000)


def test_the_page_shows_the_table():
    page = Path(__file__).parents[4] / "docs" / "models.md"
    assert "\n".join(memory_table.lines()) in page.read_text()
