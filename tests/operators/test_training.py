"""The training loop against torch written out by hand, against itself interrupted, and against itself on two ranks."""

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from operators import lora
from operators.base import ModelMissing
from operators.checkpoint import Checkpoint
from operators.finetune import Finetune, LoRA, epoch_outcomes
from operators.labels import Labelling, Labels
from operators.supervised import IGNORED, Supervised, Supervision
from operators.training import NonFinite, held_out_losses, passes, train
from tests.tiny import TEXTS, tiny_causal

SMALL = LoRA(rank=2, alpha=8)
CALM = LoRA(rank=2, alpha=8, dropout=0.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def samples(base):
    from transformers import AutoTokenizer

    supervision = Supervision(AutoTokenizer.from_pretrained(base), "tulu", 64)
    pairs = [(asked[:30], answered[:20]) for asked in TEXTS for answered in TEXTS[:3]]
    return [
        supervision(100 + at, [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}])
        for at, (asked, answered) in enumerate(pairs[:18])
    ]


def declared(base, **fields) -> Finetune:
    chosen = {"lora": SMALL, "epochs": 2, "batch": 4, "max_tokens": 64, "learning_rate": 1e-2, "precision": "float32"}
    return Finetune(Checkpoint(str(base)), **(chosen | fields))


def silent(line: str) -> None:
    pass


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def tensors(epoch) -> dict[str, torch.Tensor]:
    return {
        f"{path.name}/{key}": value for path in epoch.glob("*.safetensors") for key, value in load_file(path).items()
    }


def assert_same(first, second):
    found, expected = tensors(first), tensors(second)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


class Failing(Sequence):
    """Samples of which so many can be had, then the process is stopped."""

    def __init__(self, samples, left):
        self.samples, self.left = samples, left

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, position):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.samples[position]


def by_hand(declaration, samples):
    """All weights or the adapter's after training a sample at a time, with transformers' schedule; also the losses."""
    from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

    model = lora.untrained(declaration).train()
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    adam = torch.optim.AdamW(weights.values(), lr=declaration.learning_rate, weight_decay=0.0)
    total = declaration.epochs * declaration.steps(len(samples))
    made = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}
    schedule = made[declaration.schedule](adam, int(np.ceil(total * declaration.warmup)), total)
    losses = []
    for epoch in range(1, declaration.epochs + 1):
        for positions in declaration.batches(len(samples), epoch):
            rows = [samples[position] for position in positions]
            every = sum(row.count for row in rows)
            loss = torch.zeros(())
            for row in rows:
                logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
                sum_ = F.cross_entropy(logits[:-1], torch.tensor(row.labels)[1:], ignore_index=IGNORED, reduction="sum")
                loss = loss + (sum_ / every if declaration.mean_over == "tokens" else sum_ / row.count / len(rows))
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(weights.values()), declaration.clip)
            adam.step()
            schedule.step()
            losses.append(loss.item())
    return {name: weight.detach() for name, weight in weights.items()}, losses


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"lora": CALM}, 100),
        ({"lora": CALM, "mean_over": "tokens", "schedule": "cosine", "clip": 0.5}, 4096),
        ({"lora": None, "learning_rate": 1e-3, "warmup": 0.3}, 200),
    ],
)
def test_training_equals_a_loop_a_sample_at_a_time(base, samples, tmp_path, fields, tokens):
    declaration = declared(base, **fields)
    expected, losses = by_hand(declaration, samples)
    found = train(declaration, samples, tmp_path, silent, tokens=tokens)
    weights = dict(lora.trained(declaration, found[-1]).named_parameters())
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name].detach(), weight, rtol=1e-3, atol=2e-4)
    assert [line["loss"] for line in lines(tmp_path)] == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < losses[0]


def test_epochs_say_what_they_are(base, samples, tmp_path):
    declaration, said = declared(base, seed=3), []
    found = train(declaration, samples, tmp_path, said.append)
    assert found == [tmp_path / "epoch-1", tmp_path / "epoch-2"]
    assert len(said) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-1", "epoch-2", "losses.jsonl"}
    files = {path.name for path in found[0].iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "adam.safetensors", "training.json"} < files
    assert "tokenizer.json" in files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl", ".md"))]
    facts = json.loads((found[1] / "training.json").read_text())
    rates = [declaration.rate(step, 10) for step in range(5, 10)]
    assert facts["learning_rates"] == rates
    assert facts["learning_rate"] == pytest.approx(np.mean(rates))
    assert (facts["epoch"], facts["step"], facts["samples"], facts["seed"]) == (2, 10, 18, 3)
    assert facts["tokens"] == sum(sample.count for sample in samples)
    assert [(line["step"], line["epoch"]) for line in lines(tmp_path)] == [(n + 1, n // 5 + 1) for n in range(10)]


def test_moments_are_adams_by_the_names_of_the_parameters(base, samples, tmp_path):
    declaration = declared(base, lora=CALM, epochs=1, batch=18, warmup=0.0, clip=None)
    model = lora.untrained(declaration)
    (epoch,) = train(declaration, samples, tmp_path, silent)
    sums, counts = [], np.array([sample.count for sample in samples])
    for sample in samples:
        logits = model(input_ids=torch.tensor([sample.input_ids])).logits[0, :-1]
        sums.append(F.cross_entropy(logits, torch.tensor(sample.labels[1:]), ignore_index=IGNORED))
    torch.stack(sums).mean().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    moments = load_file(epoch / "adam.safetensors")
    assert counts.min() > 0
    assert set(moments) == {f"{moment}.{name}" for name in gradients for moment in ("exp_avg", "exp_avg_sq")}
    for name, gradient in gradients.items():
        torch.testing.assert_close(moments[f"exp_avg.{name}"], 0.1 * gradient, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(moments[f"exp_avg_sq.{name}"], 0.001 * gradient**2, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("adapters", [SMALL, None])
def test_stopped_run_goes_on_to_the_same_weights(base, samples, tmp_path, adapters):
    declaration = declared(base, lora=adapters)
    whole = train(declaration, samples, tmp_path / "whole", silent, tokens=100)
    with pytest.raises(KeyboardInterrupt):
        train(declaration, Failing(samples, 18 + 9), tmp_path / "stopped", silent, tokens=100)
    (tmp_path / "stopped" / ".epoch-2").mkdir()
    assert lora.whole_epochs(declaration, 18, tmp_path / "stopped") == [tmp_path / "stopped" / "epoch-1"]
    torch.manual_seed(12345)
    resumed = train(declaration, Failing(samples, 18), tmp_path / "stopped", silent, tokens=100)
    for first, second in zip(resumed, whole, strict=True):
        assert_same(first, second)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    assert train(declaration, Failing(samples, 0), tmp_path / "stopped", silent) == resumed


def test_dropout_and_order_follow_from_the_seed_alone(base, samples, tmp_path):
    declaration = declared(base, epochs=1)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    (first,) = train(declaration, samples, tmp_path / "a", silent)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    (second,) = train(declaration, samples, tmp_path / "b", silent)
    assert_same(first, second)
    (other,) = train(declared(base, epochs=1, seed=1), samples, tmp_path / "c", silent)
    assert not torch.equal(*(load_file(each / "adapter_model.safetensors").popitem()[1] for each in (first, other)))


RANK = """
import pickle, sys
from pathlib import Path
import torch, torch.distributed as dist
from operators import lora, ranks
from operators.training import train
runs, meeting, rank = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2)
for declaration, samples, folder, layout in pickle.loads(Path(runs).read_bytes()):
    found = train(declaration, samples, folder, lambda line: None, tokens=100, layout=layout)
    assert [path.name for path in found] == ["epoch-1", "epoch-2"]
model = lora.trained(declaration, found[-1])
whole = sum(weight.numel() for weight in model.parameters())
ranks.here(layout).hold(model, torch.device("cpu"), "float32")
held = sum((weight.to_local() if layout == "shards" else weight).numel() for weight in model.parameters()
           if weight.dim() > 1)
assert (held < 0.6 * whole) == (layout == "shards")
dist.destroy_process_group()
"""


def begun_on_two_ranks(runs, folder) -> list[subprocess.Popen]:
    """Both ranks, which carry out one run after the other: declaration, samples, its folder, layout."""
    (folder / "runs").write_bytes(pickle.dumps(runs))
    arguments = [sys.executable, "-c", RANK, str(folder / "runs"), str(folder / "meeting")]
    return [subprocess.Popen([*arguments, str(rank)]) for rank in (0, 1)]


def assert_near(folder, other, atol):
    """Of two runs of two epochs: losses, and what the last one left, but for the order of sums."""
    for found, expected in zip(lines(folder), lines(other), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    found, expected = tensors(folder / "epoch-2"), tensors(other / "epoch-2")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=atol)


def test_two_ranks_train_as_one_process_does_dropout_included(base, samples, tmp_path):
    ranks = begun_on_two_ranks([(declared(base), samples, tmp_path / "two", "copies")], tmp_path)
    train(declared(base), samples, tmp_path / "one", silent, tokens=100)
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    assert_near(tmp_path / "two", tmp_path / "one", 2e-4)


def tied(base, folder):
    """The model, with its embeddings for a head."""
    shutil.copytree(base, folder)
    config = json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_two_ranks_that_share_a_model_train_as_one_process_and_either_goes_on_where_the_other_was(
    base, samples, tmp_path
):
    fields = {"lora": None, "learning_rate": 1e-3, "batch": 5}
    whole = declared(tied(base, tmp_path / "tied"), **fields, clip=None)
    runs = {
        "whole": whole,
        "clipped": declared(base, **fields, clip=0.1),
        "adapter": declared(base, batch=5, precision="bfloat16"),
    }
    lengths = [[len(samples[at].input_ids) for at in positions] for positions in whole.batches(18, 1)]
    assert [len(passes(each, 100)) for each in lengths] == [3, 3, 3, 2]  # the second rank has none left in three steps
    for name, declaration in runs.items():
        train(declaration, samples, tmp_path / "one" / name, silent, tokens=100)
    copied(tmp_path / "one" / "whole", tmp_path / "two" / "gone on")
    shared = [(declaration, samples, tmp_path / "two" / name, "shards") for name, declaration in runs.items()]
    shared.append((whole, samples, tmp_path / "two" / "gone on", "shards"))
    ranks = begun_on_two_ranks(shared, tmp_path)
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    for name in runs:
        assert_near(tmp_path / "two" / name, tmp_path / "one" / name, 1e-5)
        first, second = (
            {path.name for path in (tmp_path / one / name / "epoch-2").iterdir()} for one in ("one", "two")
        )
        assert first == second
    copied(tmp_path / "two" / "whole", tmp_path / "one" / "gone on")
    train(whole, samples, tmp_path / "one" / "gone on", silent, tokens=100)
    for one in ("one", "two"):
        assert_near(tmp_path / one / "gone on", tmp_path / "one" / "whole", 1e-5)


def copied(run, folder):
    """A run as it was after its first epoch."""
    shutil.copytree(run / "epoch-1", folder / "epoch-1")
    shutil.copy(run / "losses.jsonl", folder)


def test_loss_that_is_no_number_stops_the_run_and_names_the_samples(base, samples, tmp_path, monkeypatch):
    from operators import training

    plain, broken = training.summed_losses, samples[5].id

    def spoilt(model, rows, labels):
        losses, right = plain(model, rows, labels)
        return losses.masked_fill(torch.tensor([row.id == broken for row in rows]), float("nan")), right

    monkeypatch.setattr(training, "summed_losses", spoilt)
    with pytest.raises(NonFinite, match=f"samples .{broken}.") as caught:
        train(declared(base), samples, tmp_path, silent)
    assert caught.value.ids == [broken]
    assert len(lines(tmp_path)) == caught.value.step - 1
    assert not list(tmp_path.glob("epoch-*"))


def test_gradient_that_overflows_stops_the_run_with_the_samples_of_the_step(base, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda weights, longest: torch.tensor(float("inf")))
    with pytest.raises(NonFinite) as caught:
        train(declared(base), samples, tmp_path, silent)
    first = declared(base).batches(18, 1)[0]
    assert caught.value.ids == [samples[position].id for position in first]


@pytest.mark.parametrize("limit", [3_000, 30_000])
def test_full_disk_is_an_os_error_and_leaves_no_half_epoch(base, samples, tmp_path, limit):
    declaration = declared(base, lora=None if limit > 10_000 else SMALL)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"epoch-1|too large"):
            train(declaration, samples, tmp_path, silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["losses.jsonl"]
    assert len(train(declaration, samples, tmp_path, silent)) == 2


def test_folder_of_another_run_is_refused(base, samples, tmp_path):
    train(declared(base, epochs=1), samples, tmp_path, silent)
    for declaration, rows in [(declared(base, epochs=1, seed=1), samples), (declared(base, epochs=1), samples[:9])]:
        with pytest.raises(ValueError, match="another declaration, or on other samples"):
            train(declaration, rows, tmp_path, silent)


def test_what_cannot_be_trained_is_refused_before_the_first_step(base, samples, tmp_path):
    with pytest.raises(ValueError, match=r"no linear layer named c_attn; .* k_proj, lm_head, o_proj"):
        train(declared(base, lora=LoRA(modules=("q_proj", "c_attn"))), samples, tmp_path, silent)
    with pytest.raises(ValueError, match=r"max_tokens=512, but the model .* has 256 positions"):
        train(declared(base, max_tokens=512), samples, tmp_path, silent)
    with pytest.raises(ValueError, match="warm-up takes all of the run's 1 steps"):
        train(declared(base, epochs=1, batch=18), samples, tmp_path, silent)
    with pytest.raises(ValueError, match="no sample"):
        train(declared(base), [], tmp_path, silent)
    with pytest.raises(ValueError, match=r"samples \[9\] have no token to supervise"):
        train(declared(base), [Supervised(9, (1, 2), (1, IGNORED)), *samples], tmp_path, silent)
    with pytest.raises(ValueError, match="one process has nobody to share a model with"):
        train(declared(base), samples, tmp_path, silent, layout="shards")
    with pytest.raises(ModelMissing):
        declared("/nowhere/at/all").check()
    assert not list(tmp_path.glob("*epoch-*"))


def test_bfloat16_trains_float32_adapters_over_bfloat16_weights(base, samples, tmp_path):
    declaration = declared(base, precision="bfloat16")
    train(declaration, samples, tmp_path, silent)
    losses = [line["loss"] for line in lines(tmp_path)]
    assert losses[-1] < losses[0]
    model = lora.trained(declaration, tmp_path / "epoch-2")
    kinds = {(weight.requires_grad, weight.dtype) for weight in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_fresh_layers_are_the_last_ones_and_follow_from_the_seed(base):
    bare = dict(lora.untrained(declared(base, lora=None)).named_parameters())
    one, again, other = (
        dict(lora.untrained(declared(base, lora=None, fresh_layers=1, seed=seed)).named_parameters())
        for seed in (3, 3, 4)
    )
    for name, weight in bare.items():
        assert torch.equal(one[name], again[name])
        anew = "layers.1." in name and "norm" not in name
        assert torch.equal(one[name], weight) == (not anew)
        assert torch.equal(one[name], other[name]) == (not anew)
    with pytest.raises(ValueError, match="fresh_layers=3, but the model has 2 layers"):
        lora.untrained(declared(base, fresh_layers=3))


CLASSES = Labels("kind", classes=("0", "1", "2"))


def classified(tokenizer, at, text, label) -> Supervised:
    messages = [{"role": "user", "content": text}]
    return Labelling(tokenizer, CLASSES, 64)(at, messages, json.dumps({"kind": str(label)}).encode())


def test_a_run_that_goes_on_after_another_comes_to_the_weights_of_a_longer_one(base, samples, tmp_path):
    fields = {"lora": None, "schedule": "constant", "warmup": 0.0, "batch": 18, "learning_rate": 1e-3}
    whole = train(declared(base, epochs=3, **fields), samples, tmp_path / "whole", silent)
    half = Checkpoint(str(train(declared(base, epochs=2, **fields), samples, tmp_path / "half", silent)[-1]))
    longer = declared(base, epochs=1, after=half, **fields)
    rest = train(longer, samples, tmp_path / "rest", silent)
    assert json.loads((rest[-1] / "training.json").read_text())["adam_steps"] == 3
    for name, weight in load_file(rest[-1] / "model.safetensors").items():
        torch.testing.assert_close(weight, load_file(whole[-1] / "model.safetensors")[name], rtol=1e-4, atol=1e-5)
    assert longer.fingerprint() != declared(base, epochs=1, **fields).fingerprint()
    with pytest.raises(ModelMissing):
        declared(base, after=Checkpoint("/nowhere/at/all")).check()


def test_a_step_over_nothing_is_over_the_sum(base, samples, tmp_path):
    fields = {"lora": None, "warmup": 0.0, "batch": 18, "epochs": 1}
    for over in ("samples", "nothing"):
        train(declared(base, mean_over=over, **fields), samples, tmp_path / over, silent)
    mean, summed = (lines(tmp_path / over)[0]["loss"] for over in ("samples", "nothing"))
    losses, counts = held_out_losses(lora.untrained(declared(base, lora=None)), samples)
    assert summed == pytest.approx(losses.sum(), rel=1e-4)
    assert mean == pytest.approx((losses / counts).mean(), rel=1e-4)


@pytest.mark.parametrize("adapters", [CALM, None])
def test_classifier_learns_classes(base, tmp_path, adapters):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [(text[start : start + 24], label) for label, text in enumerate(TEXTS[:3]) for start in range(0, 20, 4)]
    rows = [classified(tokenizer, at, text, label) for at, (text, label) in enumerate(texts) if text.strip()]
    declaration = declared(base, labels=CLASSES, epochs=8, lora=adapters, learning_rate=3e-3, clip=None)
    epochs = train(declaration, rows, tmp_path, silent)
    losses, counts = held_out_losses(lora.trained(declaration, epochs[-1]), rows, labels=CLASSES)
    assert losses.mean() < 0.7 * lines(tmp_path)[0]["loss"]
    assert counts.tolist() == [1] * len(rows)
    shares = []
    for epoch in epochs:
        ids, right = epoch_outcomes(Checkpoint(str(epoch)))
        assert ids.tolist() == [row.id for row in rows]
        shares.append(right.mean())
    assert shares[-1] > shares[0]


@pytest.mark.parametrize("padding", [0, 5, None])
def test_classifiers_padding_changes_nothing(base, tmp_path, padding):
    from transformers import AutoTokenizer

    shutil.copytree(base, tmp_path / "base")
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token_id": padding}))
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [classified(tokenizer, at, text[: 5 + 7 * at], at % 2) for at, text in enumerate(TEXTS)]
    model = lora.untrained(declared(tmp_path / "base", labels=CLASSES))
    together, _ = held_out_losses(model, rows, labels=CLASSES)
    for row, loss in zip(rows, together, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
        assert loss == pytest.approx(float(F.cross_entropy(logits, torch.tensor(row.labels[-1]))), rel=1e-4)


def test_held_out_losses_are_those_of_each_sample_alone(base, samples):
    model = lora.untrained(declared(base))
    sums, counts = held_out_losses(model, samples, tokens=150)
    for sample, loss, count in zip(samples, sums, counts, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([sample.input_ids])).logits[0, :-1]
        labels = torch.tensor(sample.labels[1:])
        assert loss == pytest.approx(
            float(F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")), rel=1e-4
        )
        assert count == int((labels != IGNORED).sum())
    with pytest.raises(ValueError, match="no token to supervise"):
        held_out_losses(model, [Supervised(1, (1, 2), (IGNORED, IGNORED))])


def test_rates_are_those_that_the_released_less_weighs_its_checkpoints_by():
    """The README's numbers for 13,533 samples; a rate is logged there when the schedule has moved on to the next."""
    declaration = Finetune(Checkpoint("any"))
    steps = declaration.steps(13_533)
    logged = [declaration.rate(step, 4 * steps) for step in range(1, 4 * steps)] + [0.0]
    means = np.reshape(logged, (4, steps)).mean(1)
    assert means == pytest.approx([1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06], rel=3e-3)


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


def test_identity_is_the_declaration_and_the_content_of_the_base(base, tmp_path):
    assert declared(base).fingerprint() == declared(str(base) + "/").fingerprint()
    others = [declared(base, lora=None), declared(base, lora=LoRA(rank=4)), declared(base, seed=1, warmup=0.0)]
    assert len({each.fingerprint() for each in [declared(base), *others]}) == 4
    as_yaml_has_them: Any = {"lora": LoRA(modules=["q_proj"]), "betas": [0.9, 0.99]}  # type: ignore[arg-type]
    assert declared(base, **as_yaml_has_them) == declared(base, lora=LoRA(modules=("q_proj",)), betas=(0.9, 0.99))
    code = "import sys, operators.finetune; print([n for n in ('torch', 'transformers', 'peft') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_passes_have_all_rows_once_and_keep_to_the_budget():
    lengths = np.random.default_rng(0).integers(1, 50, 200).tolist()
    cut = passes(lengths, 120)
    assert sorted(position for each in cut for position in each) == list(range(200))
    assert all(len(each) * max(lengths[position] for position in each) <= 120 for each in cut)
    assert passes([500, 3], 100) == [[0], [1]]
