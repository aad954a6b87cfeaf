"""The training loop against a loop written by hand, against itself after a stop, and what it refuses."""

import json
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import Gemma2Config

from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.supervision.labels import Labelling, Labels
from operators.supervision.supervised import IGNORED, Supervised
from operators.training.epochs import whole_epochs
from operators.training.files import epoch_outcomes
from operators.training.finetune import LoRA
from operators.training.loop import NonFinite, optimiser, train
from operators.training.losses import summed_losses
from operators.training.model import empty_model, recompute_activations, trained_model, untrained_model
from tests.full_disk import files_up_to
from tests.runs import CALM, SMALL, assert_same, declared, lines, losses_one_by_one, spoilt
from tests.tiny import TEXTS


class Failing(Sequence):
    """Samples of which `left` can be read; the next one stops the process."""

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
    """The trained weights and the losses after training one sample at a time, with the schedules of transformers."""
    from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

    model = untrained_model(declaration).train()
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
    found = train(declaration, samples, tmp_path, tokens=tokens)
    weights = dict(trained_model(declaration, found[-1]).named_parameters())
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name].detach(), weight, rtol=1e-3, atol=2e-4)
    assert [line["loss"] for line in lines(tmp_path)] == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < losses[0]


def test_epochs_say_what_they_are(base, samples, tmp_path):
    declaration = declared(base, seed=3)
    found = train(declaration, samples, tmp_path)
    assert found == [tmp_path / "epoch-1", tmp_path / "epoch-2"]
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
    model = untrained_model(declaration)
    (epoch,) = train(declaration, samples, tmp_path)
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
    whole = train(declaration, samples, tmp_path / "whole", tokens=100)
    with pytest.raises(KeyboardInterrupt):
        train(declaration, Failing(samples, 18 + 9), tmp_path / "stopped", tokens=100)
    (tmp_path / "stopped" / ".epoch-2").mkdir()
    assert whole_epochs(declaration, 18, tmp_path / "stopped") == [tmp_path / "stopped" / "epoch-1"]
    torch.manual_seed(12345)
    resumed = train(declaration, Failing(samples, 18), tmp_path / "stopped", tokens=100)
    for first, second in zip(resumed, whole, strict=True):
        assert_same(first, second)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    assert train(declaration, Failing(samples, 0), tmp_path / "stopped") == resumed


def test_a_classifier_s_head_is_read_in_float32_beside_an_adapter_of_a_bfloat16_base(base, tmp_path):
    declaration = declared(base, labels=Labels("task", classes=("a", "b")), precision="bfloat16")
    begun = untrained_model(declaration)
    trained = {name: weight for name, weight in begun.named_parameters() if weight.requires_grad}
    for weight in trained.values():
        torch.nn.init.normal_(weight)
    begun.save_pretrained(tmp_path)
    read = dict(trained_model(declaration, tmp_path).named_parameters())
    assert any("score" in name for name in trained)
    for name, weight in trained.items():
        assert read[name].requires_grad
        torch.testing.assert_close(read[name], weight, rtol=0, atol=0)


def test_dropout_and_order_follow_from_the_seed_alone(base, samples, tmp_path):
    declaration = declared(base, epochs=1)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    (first,) = train(declaration, samples, tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    (second,) = train(declaration, samples, tmp_path / "b")
    assert_same(first, second)
    (other,) = train(declared(base, epochs=1, seed=1), samples, tmp_path / "c")
    assert not torch.equal(*(load_file(each / "adapter_model.safetensors").popitem()[1] for each in (first, other)))


def test_loss_that_is_no_number_stops_the_run_and_names_the_samples(base, samples, tmp_path):
    token = next(token for token in range(10, 256) if not any(token in sample.input_ids for sample in samples))
    rows = [*samples, Supervised(99, (token, *samples[0].input_ids[1:]), samples[0].labels)]
    declaration = declared(spoilt(base, tmp_path / "broken", token))
    with pytest.raises(NonFinite, match=r"samples \[99\]") as caught:
        train(declaration, rows, tmp_path / "run")
    assert caught.value.ids == [99]
    assert len(lines(tmp_path / "run")) == caught.value.step - 1
    assert not list((tmp_path / "run").glob("epoch-*"))


def test_gradient_that_overflows_stops_the_run_with_the_samples_of_the_step(base, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda weights, longest: torch.tensor(float("inf")))
    with pytest.raises(NonFinite) as caught:
        train(declared(base), samples, tmp_path)
    first = declared(base).batches(18, 1)[0]
    assert caught.value.ids == [samples[position].id for position in first]


@pytest.mark.parametrize("limit", [3_000, 30_000])
def test_full_disk_is_an_os_error_and_leaves_no_half_epoch(base, samples, tmp_path, limit):
    declaration = declared(base, lora=None if limit > 10_000 else SMALL)
    with files_up_to(limit), pytest.raises(OSError, match=r"epoch-1|too large"):
        train(declaration, samples, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["losses.jsonl"]
    assert len(train(declaration, samples, tmp_path)) == 2


def test_folder_of_another_run_is_refused(base, samples, tmp_path):
    train(declared(base, epochs=1), samples, tmp_path)
    for declaration, rows in [(declared(base, epochs=1, seed=1), samples), (declared(base, epochs=1), samples[:9])]:
        with pytest.raises(ValueError, match="another declaration, or on other samples"):
            train(declaration, rows, tmp_path)


def test_what_cannot_be_trained_is_refused_before_the_first_step(base, samples, tmp_path):
    with pytest.raises(ValueError, match=r"no linear layer named c_attn; .* k_proj, lm_head, o_proj"):
        train(declared(base, lora=LoRA(modules=("q_proj", "c_attn"))), samples, tmp_path)
    with pytest.raises(ValueError, match=r"max_tokens=512, but the model .* has 256 positions"):
        train(declared(base, max_tokens=512), samples, tmp_path)
    with pytest.raises(ValueError, match="warm-up takes all of the run's 1 steps"):
        train(declared(base, epochs=1, batch=18), samples, tmp_path)
    with pytest.raises(ValueError, match="no sample"):
        train(declared(base), [], tmp_path)
    with pytest.raises(ValueError, match=r"samples \[9\] have no token to supervise"):
        train(declared(base), [Supervised(9, (1, 2), (1, IGNORED)), *samples], tmp_path)
    with pytest.raises(ValueError, match="one process has nobody to share a model with"):
        train(declared(base), samples, tmp_path, layout="shards")
    with pytest.raises(ModelMissing):
        declared("/nowhere/at/all").check()
    assert not list(tmp_path.glob("*epoch-*"))


def test_bfloat16_trains_float32_adapters_over_bfloat16_weights(base, samples, tmp_path):
    declaration = declared(base, precision="bfloat16")
    train(declaration, samples, tmp_path)
    losses = [line["loss"] for line in lines(tmp_path)]
    assert losses[-1] < losses[0]
    model = trained_model(declaration, tmp_path / "epoch-2")
    kinds = {(weight.requires_grad, weight.dtype) for weight in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_fresh_layers_are_the_last_ones_and_follow_from_the_seed(base):
    bare = dict(untrained_model(declared(base, lora=None)).named_parameters())
    one, again, other = (
        dict(untrained_model(declared(base, lora=None, fresh_layers=1, seed=seed)).named_parameters())
        for seed in (3, 3, 4)
    )
    for name, weight in bare.items():
        assert torch.equal(one[name], again[name])
        anew = "layers.1." in name and "norm" not in name
        assert torch.equal(one[name], weight) == (not anew)
        assert torch.equal(one[name], other[name]) == (not anew)
    with pytest.raises(ValueError, match="fresh_layers=3, but the model has 2 layers"):
        untrained_model(declared(base, fresh_layers=3))


CLASSES = Labels("kind", classes=("0", "1", "2"))


def classified(tokenizer, at, text, label) -> Supervised:
    messages = [{"role": "user", "content": text}]
    return Labelling(tokenizer, CLASSES, 64)(at, messages, json.dumps({"kind": str(label)}).encode())


def test_a_run_that_goes_on_after_another_comes_to_the_weights_of_a_longer_one(base, samples, tmp_path):
    fields = {"lora": None, "schedule": "constant", "warmup": 0.0, "batch": 18, "learning_rate": 1e-3}
    whole = train(declared(base, epochs=3, **fields), samples, tmp_path / "whole")
    half = Checkpoint(str(train(declared(base, epochs=2, **fields), samples, tmp_path / "half")[-1]))
    longer = declared(base, epochs=1, after=half, **fields)
    rest = train(longer, samples, tmp_path / "rest")
    assert json.loads((rest[-1] / "training.json").read_text())["adam_steps"] == 3
    for name, weight in load_file(rest[-1] / "model.safetensors").items():
        torch.testing.assert_close(weight, load_file(whole[-1] / "model.safetensors")[name], rtol=1e-4, atol=1e-5)
    assert longer.fingerprint() != declared(base, epochs=1, **fields).fingerprint()
    with pytest.raises(ModelMissing):
        declared(base, after=Checkpoint("/nowhere/at/all")).check()


def test_a_step_over_nothing_is_over_the_sum(base, samples, tmp_path):
    fields = {"lora": None, "warmup": 0.0, "batch": 18, "epochs": 1}
    for over in ("samples", "nothing"):
        train(declared(base, mean_over=over, **fields), samples, tmp_path / over)
    mean, summed = (lines(tmp_path / over)[0]["loss"] for over in ("samples", "nothing"))
    losses, counts = losses_one_by_one(untrained_model(declared(base, lora=None)), samples)
    assert summed == pytest.approx(losses.sum(), rel=1e-4)
    assert mean == pytest.approx((losses / counts).mean(), rel=1e-4)


@pytest.mark.parametrize("adapters", [CALM, None])
def test_classifier_learns_classes(base, tmp_path, adapters):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [(text[start : start + 24], label) for label, text in enumerate(TEXTS[:3]) for start in range(0, 20, 4)]
    rows = [classified(tokenizer, at, text, label) for at, (text, label) in enumerate(texts) if text.strip()]
    declaration = declared(base, labels=CLASSES, epochs=8, lora=adapters, learning_rate=3e-3, clip=None)
    epochs = train(declaration, rows, tmp_path)
    model = trained_model(declaration, epochs[-1]).eval()
    with torch.no_grad():
        losses, _ = summed_losses(model, rows, CLASSES)
    assert losses.mean() < 0.7 * lines(tmp_path)[0]["loss"]
    assert {line["tokens"] for line in lines(tmp_path)} <= {declaration.batch, len(rows) % declaration.batch}
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
    model = untrained_model(declared(tmp_path / "base", labels=CLASSES)).eval()
    with torch.no_grad():
        together, _ = summed_losses(model, rows, CLASSES)
    for row, loss in zip(rows, together, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
        assert float(loss) == pytest.approx(float(F.cross_entropy(logits, torch.tensor(row.labels[-1]))), rel=1e-4)


@pytest.mark.parametrize("count", [1, 7, 18])
def test_summed_losses_are_those_of_each_sample_alone(base, samples, count):
    model = untrained_model(declared(base)).eval()
    sums, _ = losses_one_by_one(model, samples[:count])
    with torch.no_grad():
        losses, right = summed_losses(model, samples[:count], None)
    assert losses.tolist() == pytest.approx(sums.tolist(), rel=1e-4)
    assert right.tolist() == [0] * count


def test_recomputed_activations_give_the_same_gradients_dropout_included(base, samples):
    gradients = []
    for lora in (SMALL, None):
        for recompute in (False, True):
            model = untrained_model(declared(base, lora=lora)).train()
            if recompute:
                recompute_activations(model)
            torch.manual_seed(3)
            summed_losses(model, samples[:3], None)[0].sum().backward()
            gradients.append([weight.grad for weight in model.parameters() if weight.grad is not None])
    for kept, recomputed in (gradients[:2], gradients[2:]):
        assert len(kept) == len(recomputed) > 0
        assert all(torch.equal(one, other) for one, other in zip(kept, recomputed, strict=True))


def test_recomputed_activations_keep_less_and_train_the_same_files(base, samples, tmp_path):
    kept = train(declared(base), samples, tmp_path / "kept")
    recomputed = train(declared(base), samples, tmp_path / "recomputed", activations="recomputed")
    for one, other in zip(kept, recomputed, strict=True):
        assert_same(one, other)

    def held(activations) -> int:
        model = untrained_model(declared(base)).train()
        if activations == "recomputed":
            recompute_activations(model)
        sizes = []

        def keep(tensor):
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            summed_losses(model, samples[:3], None)
        return sum(sizes)

    assert held("recomputed") < held("kept") / 2


@pytest.mark.parametrize("fields", [{"lora": None}, {}, {"precision": "bfloat16"}])
def test_an_empty_model_has_the_parameters_of_the_whole_one(base, samples, tmp_path, fields):
    declaration = declared(base, epochs=1, **fields)
    (epoch,) = train(declaration, samples, tmp_path)
    for whole, empty in (
        (untrained_model(declaration), empty_model(declaration, None)),
        (trained_model(declaration, epoch), empty_model(declaration, epoch)),
    ):
        assert facts_of(empty) == facts_of(whole)
        assert all(weight.is_meta for name, weight in empty.named_parameters() if "lora" not in name)
        for found, expected in zip(empty.buffers(), whole.buffers(), strict=True):
            assert torch.equal(found, expected)


def facts_of(model) -> dict:
    return {name: (weight.shape, weight.dtype, weight.requires_grad) for name, weight in model.named_parameters()}


def test_an_empty_model_computes_its_attention_as_the_whole_one(tmp_path):
    shape: Any = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    Gemma2Config(**shape, vocab_size=50, head_dim=8, attn_logit_softcapping=1.0).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert empty_model(declared(tmp_path, lora=None), None).config._attn_implementation == "eager"


def test_a_step_on_a_gpu_is_one_kernel_that_makes_the_step_of_the_cpu(base, samples):
    weights = {}
    for device in ("cpu", "cuda"):  # the kernel that a GPU would have is there for tensors of a CPU, too
        model = untrained_model(declared(base, lora=None))
        adam = optimiser(model, declared(base, weight_decay=0.1), torch.device(device))
        assert bool(adam.defaults["fused"]) == (device == "cuda")
        for _ in range(2):
            summed_losses(model, samples[:3], None)[0].sum().backward()
            adam.step()
        weights[device] = dict(model.named_parameters())
    for name, weight in weights["cpu"].items():
        torch.testing.assert_close(weights["cuda"][name], weight, rtol=1e-3, atol=1e-5)
