"""The declaration of a training run: its learning rates and its identity."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from operators.checkpoint import Checkpoint
from operators.training.finetune import Finetune, LoRA
from tests.runs import declared


def test_rates_are_those_that_the_released_less_weighs_its_checkpoints_by():
    """The numbers of LESS's README for 13,533 samples, which logs a rate after the schedule has moved to the next."""
    declaration = Finetune(Checkpoint("any"))
    steps = declaration.steps(13_533)
    logged = [declaration.rate(step, 4 * steps) for step in range(1, 4 * steps)] + [0.0]
    means = np.reshape(logged, (4, steps)).mean(1)
    assert means == pytest.approx([1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06], rel=3e-3)


@pytest.mark.parametrize(
    ("samples", "batch", "steps"),
    [(1, 8, 1), (10, 8, 2), (101, 8, 13), (128, 8, 16), (200, 12, 17), (2048, 128, 16), (13_533, 128, 106)],
)
def test_a_batch_by_the_number_of_samples_leaves_sixteen_steps_where_it_can(samples, batch, steps):
    declaration = Finetune(Checkpoint("any"))
    assert (declaration.step_samples(samples), declaration.steps(samples)) == (batch, steps)
    cut = declaration.batches(samples, 1)
    assert max(map(len, cut)) == min(batch, samples)
    assert sorted(np.concatenate(cut).tolist()) == list(range(samples))
    asked_for = replace(declaration, batch=40)
    assert {asked_for.step_samples(each) for each in (1, samples, 10**6)} == {40}


@pytest.mark.parametrize("samples", range(10, 130, 7))
def test_every_epoch_learns_something_by_the_defaults(samples):
    assert Finetune(Checkpoint("any")).idle_epochs(samples) == []


def test_epochs_in_which_nothing_is_learnt_are_those_whose_rates_are_all_0():
    declaration = Finetune(Checkpoint("any"), batch=128)
    assert declaration.idle_epochs(101) == [1]  # one step an epoch, at which the warm-up begins
    assert declaration.idle_epochs(129) == []
    assert replace(declaration, warmup=0.0).idle_epochs(101) == []
    assert replace(declaration, warmup=0.74).idle_epochs(101) == [1]  # the rates 0, 1/3, 2/3, 1
    with pytest.raises(ValueError, match="warm-up takes all of the run's 1 steps"):
        replace(declaration, epochs=1).idle_epochs(101)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rates_are_those_of_transformers(schedule):
    from transformers import get_scheduler

    named = "constant_with_warmup" if schedule == "constant" else schedule
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    expected = get_scheduler(named, sgd, num_warmup_steps=5, num_training_steps=41)
    declaration = Finetune(Checkpoint("any"), learning_rate=3e-4, schedule=schedule, warmup=0.1)
    for step in range(41):
        assert declaration.rate(step, 41) == pytest.approx(expected.get_last_lr()[0])
        sgd.step()
        expected.step()


def test_a_quantised_base_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"are quantised \(awq\)"):
        declared(tmp_path).check()


def test_fresh_layers_under_an_adapter_are_refused_as_its_folder_has_none(base):
    with pytest.raises(ValueError, match=r"fresh_layers=1 with an adapter, .* Set lora to none, or fresh_layers to 0"):
        declared(base, fresh_layers=1).check()
    declared(base, lora=None, fresh_layers=1).check()


def test_identity_is_the_declaration_and_the_content_of_the_base(base, tmp_path):
    assert declared(base).fingerprint() == declared(str(base) + "/").fingerprint()
    others = [declared(base, lora=None), declared(base, lora=LoRA(rank=4)), declared(base, seed=1, warmup=0.0)]
    assert len({each.fingerprint() for each in [declared(base), *others]}) == 4
    as_yaml_has_them: Any = {"lora": LoRA(modules=["q_proj"]), "betas": [0.9, 0.99]}  # type: ignore[arg-type]
    assert declared(base, **as_yaml_has_them) == declared(base, lora=LoRA(modules=("q_proj",)), betas=(0.9, 0.99))
    code = (
        "import sys, operators.training.finetune;"
        "print([n for n in ('torch', 'transformers', 'peft') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
