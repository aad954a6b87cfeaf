"""Gradient and GradientNorm against a loop with autograd and a matrix, after a real warm-up."""

import math
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.gradients import gradient, per_sample
from operators.gradients.directions import Directions, precision_on
from operators.gradients.gradient import Gradient, Projected
from operators.gradients.gradient_norm import GradientNorm
from operators.gradients.target_directions import directions
from operators.kernels.projection import Projection, project
from operators.missing import ModelMissing
from operators.models.causal import causal_model
from operators.sample import MESSAGES
from operators.supervision.supervised import IGNORED, Supervision
from operators.training.finetune import Finetune, LoRA
from operators.training.loop import train
from tests.small_device import small_device
from tests.tiny import tiny_causal

PAIRS = [
    ("Name a river.", "The Danube."),
    ("列举三种颜色。", "红色、蓝色和绿色。"),
    ("اشرح الفرق", "👍🏽 e\u0301"),
    ("Кратко.", "Империя пришла в упадок."),
    ("Écris un poème.", "Il pleut. " * 20),
]
LIMIT = 64
WIDTH = 256


def conversation(asked, answered):
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


SAMPLES = [conversation(*pair) for pair in PAIRS]
TARGETS = {
    "rivers": [conversation("Name a stream.", "The Rhine."), conversation("河流？", "长江")],
    "цвета": [conversation("Un color", "Azul")],
}


def batch(conversations=SAMPLES) -> pa.Table:
    return pa.table({"id": range(len(conversations)), "messages": pa.array(conversations, MESSAGES)})


def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def epoch(base, tmp_path_factory):
    """The folder of a warm-up of one epoch."""
    declaration = Finetune(
        Checkpoint(str(base)),
        lora=LoRA(rank=4, alpha=16.0),
        epochs=1,
        batch=2,
        learning_rate=1e-2,
        warmup=0.0,
        max_tokens=LIMIT,
        precision="float32",
    )
    supervision = Supervision(tokenizer(base), "tulu", LIMIT)
    rows = [supervision(at, messages) for at, messages in enumerate(SAMPLES)]
    (found,) = train(declaration, rows, tmp_path_factory.mktemp("run"))
    shutil.copy(base / "config.json", found)
    return found


def made(base, epoch, **fields) -> Gradient:
    chosen = {"max_tokens": LIMIT, "onto": Projected(dimensions=WIDTH, stored="float32")} | fields
    return Gradient(Checkpoint(str(base)), Checkpoint(str(epoch)), **chosen)


def norm_of(base, epoch=None, **fields) -> GradientNorm:
    adapter = None if epoch is None else Checkpoint(str(epoch))
    return GradientNorm(Checkpoint(str(base)), adapter, **({"max_tokens": LIMIT} | fields))


def loop(base, epoch, wanted, conversations=SAMPLES):
    """(rows, P) gradients of the wanted parameters, one sample after another; the parameters' names; the losses."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    if epoch is not None:
        model = PeftModel.from_pretrained(model, str(epoch))
    weights = {name: weight for name, weight in model.eval().named_parameters() if wanted(name)}
    supervision = Supervision(tokenizer(base), "tulu", LIMIT)
    gradients, losses = [], []
    for weight in weights.values():
        weight.requires_grad_(True)
    for messages in conversations:
        row = supervision(0, messages)
        loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
        gradients.append(torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(weights.values()))]))
        losses.append(float(loss.detach()))
    return torch.stack(gradients), list(weights), losses


def in_lora(name):
    return "lora_" in name


def adam_steps(gradients, names, epoch, inside=True):
    """The definition, in float64."""
    stored = load_file(epoch / "adam.safetensors")
    first, second = (torch.cat([stored[f"{key}.{n}"].flatten() for n in names]) for key in ("exp_avg", "exp_avg_sq"))
    m = 0.9 * first.double() + 0.1 * gradients.double()
    v = 0.999 * second.double() + 0.001 * gradients.double() ** 2
    return m / (v + 1e-8).sqrt() if inside else m / (v.sqrt() + 1e-8)


def unit(vectors):
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("kind", ["shift", "rademacher"])
@pytest.mark.parametrize("feature", ["sgd", "adam"])
def test_values_are_unit_projections_of_the_features(base, epoch, kind, feature):
    gradients, names, _ = loop(base, epoch, in_lora)
    features = gradients if feature == "sgd" else adam_steps(gradients, names, epoch).float()
    expected = unit(project(features, Projection(kind, WIDTH, 0, features.shape[1])))
    onto = Projected(kind=kind, dimensions=WIDTH, stored="float32")
    found = np.stack(made(base, epoch, feature=feature, onto=onto, precision="float32").load()(batch()))
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


def test_epsilon_has_its_place(base, epoch):
    gradients, names, _ = loop(base, epoch, in_lora)
    outside = adam_steps(gradients, names, epoch, inside=False).float()
    expected = unit(project(outside, Projection("shift", WIDTH, 0, outside.shape[1])))
    found = np.stack(made(base, epoch, epsilon_place="outside").load()(batch()))
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)
    assert np.abs(found - np.stack(made(base, epoch).load()(batch()))).max() > 1e-3


def test_stored_numbers_are_as_long_as_asked_for(base, epoch):
    short = made(base, epoch, onto=Projected(dimensions=WIDTH)).load()(batch())
    long = made(base, epoch).load()(batch())
    assert {each.dtype for each in short} == {np.dtype("float16")}
    np.testing.assert_allclose(np.stack(short), np.stack(long), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(np.stack(long), axis=1), 1, rtol=1e-5)


def test_a_value_is_bitwise_the_same_whatever_is_with_it(base, epoch):
    compute = made(base, epoch).load()
    together = np.stack(compute(batch()))
    assert np.array_equal(np.stack([compute(batch([messages]))[0] for messages in SAMPLES]), together)
    assert np.array_equal(np.stack(compute(batch(SAMPLES[::-1])))[::-1], together)


def test_samples_that_share_signs_a_few_at_a_time_have_the_same_values(base, epoch, monkeypatch):
    onto = Projected(kind="rademacher", dimensions=WIDTH, stored="float32")
    operator = made(base, epoch, onto=onto, precision="float32")
    together = np.stack(operator.load()(batch()))
    size = per_sample.size(per_sample.adapter_layers(causal_model(operator.model, operator.adapter, "float32")))
    monkeypatch.setattr(gradient, "WHOLE_BYTES", 2 * 4 * size)
    np.testing.assert_allclose(np.stack(operator.load()(batch())), together, atol=1e-6)


def test_directions_give_the_mean_cosine_to_each_subtask(base, epoch, tmp_path):
    gradients, names, _ = loop(base, epoch, in_lora)
    features = unit(adam_steps(gradients, names, epoch))
    means = [unit(loop(base, epoch, in_lora, targets)[0]).double() for targets in TARGETS.values()]
    expected = torch.stack([(features @ target.T).mean(1) for target in means], 1)
    written = directions(made(base, epoch, feature="sgd"), TARGETS, tmp_path / "targets.safetensors")
    assert written.subtasks() == list(TARGETS)
    found = made(base, epoch, onto=written).load()(batch())
    np.testing.assert_allclose(np.stack(found), expected.numpy(), atol=1e-5)
    assert not list(tmp_path.glob(".*"))


def test_directions_can_be_of_the_mean(base, epoch, tmp_path):
    targets, names, _ = loop(base, epoch, in_lora, TARGETS["rivers"])
    written = directions(made(base, epoch, feature="sgd"), TARGETS, tmp_path / "t.safetensors", "cosine_of_mean")
    parts = written.tensors(torch.device("cpu"))
    found = torch.cat([parts[name][:1] for name in names], 1)
    torch.testing.assert_close(found, unit(targets.mean(0, keepdim=True)), rtol=0, atol=1e-6)


def test_directions_are_bfloat16_on_a_gpu_and_give_nearly_the_same_cosines(base, epoch, tmp_path, monkeypatch):
    """A GPU's precision, computed here on the CPU."""
    assert precision_on(torch.device("cuda", 0)) is torch.bfloat16
    written = directions(made(base, epoch, feature="sgd"), TARGETS, tmp_path / "t.safetensors")
    exact = np.stack(made(base, epoch, onto=written).load()(batch()))
    monkeypatch.setattr("operators.gradients.directions.precision_on", lambda device: torch.bfloat16)
    assert {part.dtype for part in written.tensors(torch.device("cpu")).values()} == {torch.bfloat16}
    short = np.stack(made(base, epoch, onto=written).load()(batch()))
    assert 0 < np.abs(short - exact).max() < 1e-3


@pytest.mark.parametrize("onto", ["directions", "projection"])
def test_values_do_not_depend_on_the_budget_and_a_pass_that_does_not_fit_is_halved(
    base, epoch, tmp_path, monkeypatch, onto
):
    chosen = Projected(dimensions=WIDTH)
    if onto == "directions":
        chosen = directions(made(base, epoch, feature="sgd"), TARGETS, tmp_path / "t.safetensors")
    operator = made(base, epoch, onto=chosen, precision="float32")
    expected = np.stack(operator.load()(batch()))
    tried = small_device(monkeypatch, room=150)
    np.testing.assert_allclose(np.stack(operator.load()(batch())), expected, atol=1e-3)
    assert tried[0] > 150 >= tried[-1]


def test_directions_count_by_content_and_are_refused_where_they_do_not_fit(base, epoch, tmp_path):
    plain = made(base, epoch, feature="sgd")
    first = directions(plain, TARGETS, tmp_path / "a.safetensors")
    shutil.copy(first.file, tmp_path / "b.safetensors")
    again = Directions(str(tmp_path / "b.safetensors"))
    assert made(base, epoch, onto=first).fingerprint() == made(base, epoch, onto=again).fingerprint()
    parts = load_file(first.file)
    parts.pop(next(iter(parts)))
    save_file(parts, tmp_path / "c.safetensors", metadata={"subtasks": "[]"})
    other = Directions(str(tmp_path / "c.safetensors"))
    assert made(base, epoch, onto=other).fingerprint() != made(base, epoch, onto=again).fingerprint()
    with pytest.raises(ValueError, match="other parameters"):
        made(base, epoch, onto=other).load()
    with pytest.raises(ModelMissing, match="nowhere"):
        made(base, epoch, onto=Directions("nowhere.safetensors")).check()


def test_directions_name_the_target_that_cannot_be_one(base, epoch, tmp_path):
    plain, file = made(base, epoch, feature="sgd"), tmp_path / "t.safetensors"
    with pytest.raises(ValueError, match="target 1 of rivers: nothing_to_supervise"):
        directions(plain, {"rivers": [SAMPLES[0], conversation("?", "")]}, file)
    with pytest.raises(ValueError, match="rivers has no targets"):
        directions(plain, {"rivers": []}, file)
    with pytest.raises(ValueError, match="feature to sgd"):
        directions(made(base, epoch), TARGETS, file)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        ("adapter", in_lora),
        ("head", lambda name: "lm_head" in name),
        (
            "linear",
            lambda name: (
                "lora_" in name or name.endswith("_proj.base_layer.weight") or "mlp" in name or "lm_head" in name
            ),
        ),
    ],
)
def test_norms_are_those_of_the_loop(base, epoch, of, wanted):
    gradients, _, losses = loop(base, epoch, wanted)
    values = norm_of(base, epoch, of=of).load()(batch())
    np.testing.assert_allclose([value["norm"] for value in values], gradients.norm(dim=1), rtol=1e-5)
    np.testing.assert_allclose([value["nll_mean"] for value in values], losses, rtol=1e-5)
    supervision = Supervision(tokenizer(base), "tulu", LIMIT)
    rows = [supervision(0, messages) for messages in SAMPLES]
    assert [value["tokens"] for value in values] == [sum(label != IGNORED for label in row.labels) for row in rows]
    assert [value["truncated"] for value in values] == [row.truncated for row in rows]
    assert any(row.truncated for row in rows)


def test_norms_without_an_adapter_and_of_the_declared_type(base):
    gradients, _, _ = loop(base, None, lambda name: "proj" in name or "lm_head" in name)
    operator = norm_of(base, of="linear")
    values = operator.load()(batch())
    np.testing.assert_allclose([value["norm"] for value in values], gradients.norm(dim=1), rtol=1e-5)
    assert pa.array(values, operator.gives).null_count == 0
    with pytest.raises(ValueError, match="wants an adapter"):
        norm_of(base).load()


def test_an_untrained_adapter_is_refused_but_for_plain_gradients(base, epoch, tmp_path):
    untrained = altered(epoch, tmp_path, lambda name, weight: weight * 0 if "lora_B" in name else weight)
    for operator in (made(base, untrained), norm_of(base, untrained)):
        with pytest.raises(ValueError, match="never trained"):
            operator.load()
    for operator in (made(base, untrained, feature="sgd"), norm_of(base, untrained, of="head")):
        assert not any(isinstance(value, RowError) for value in operator.load()(batch()))


def altered(epoch, folder, change):
    """Copies an epoch's folder with a changed adapter, and returns the copy."""
    shutil.copytree(epoch, folder, dirs_exist_ok=True)
    weights = load_file(folder / "adapter_model.safetensors")
    changed = {name: change(name, weight).contiguous() for name, weight in weights.items()}
    save_file(changed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def test_directions_bring_one_vector_of_a_subtask_to_the_cpu(base, epoch, tmp_path, monkeypatch):
    brought = []
    to_cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: brought.append(tensor.numel()) or to_cpu(tensor))
    found = directions(made(base, epoch, feature="sgd"), TARGETS, tmp_path / "t.safetensors")
    size = sum(part.shape[1] for part in load_file(found.file).values())
    assert brought.count(size) == len(TARGETS) < sum(map(len, TARGETS.values()))


def test_moments_that_are_missing_are_missed(base, epoch, tmp_path):
    copy = altered(epoch, tmp_path, lambda name, weight: weight)
    stored = load_file(copy / "adam.safetensors")
    lost = next(name for name in stored if name.startswith("exp_avg_sq."))
    save_file({name: value for name, value in stored.items() if name != lost}, copy / "adam.safetensors")
    with pytest.raises(ValueError, match="no moments of"):
        made(base, copy).load()
    (copy / "adam.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no adam\.safetensors"):
        made(base, copy).load()
    plain, known = (np.stack(made(base, folder, feature="sgd").load()(batch())) for folder in (copy, epoch))
    assert np.array_equal(plain, known)


def test_moments_that_no_adam_leaves_are_refused_before_a_sample_is_read(base, epoch, tmp_path):
    copy = altered(epoch, tmp_path, lambda name, weight: weight)
    stored = load_file(copy / "adam.safetensors")
    save_file({name: -value for name, value in stored.items()}, copy / "adam.safetensors")
    with pytest.raises(ValueError, match="second moment is negative"):
        made(base, copy).load()


def test_an_adapter_with_more_than_lora_is_refused(base, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, target_modules=["q_proj"], use_dora=True)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path)
    shutil.copy(base / "config.json", tmp_path)
    with pytest.raises(ValueError, match=r"no LoRA A or B.*lora_magnitude_vector"):
        made(base, tmp_path, feature="sgd").load()


def test_a_fingerprint_follows_from_contents(base, epoch, tmp_path):
    same = altered(epoch, tmp_path / "same", lambda name, weight: weight)
    other = altered(epoch, tmp_path / "other", lambda name, weight: weight + 1)
    fingerprint = made(base, epoch).fingerprint()
    assert made(base, same).fingerprint() == fingerprint
    others = (made(base, other), made(base, epoch, feature="sgd"), made(base, epoch, epsilon_place="outside"))
    assert len({fingerprint, *(each.fingerprint() for each in others)}) == 4


def test_what_has_no_gradient_is_an_error_beside_values(base, epoch):
    rows = [SAMPLES[0], conversation("?", ""), [], conversation("long " * 100, "Yes."), SAMPLES[1]]
    for operator in (made(base, epoch), norm_of(base, epoch)):
        found = operator.load()(batch(rows))
        assert [isinstance(value, RowError) for value in found] == [False, True, True, True, False]
        assert {found[at].kind for at in (1, 2, 3)} == {"nothing_to_supervise"}
        nothing = operator.load()(batch(rows[1:2]))
        assert [each.kind for each in nothing] == ["nothing_to_supervise"]


def test_a_gradient_that_is_no_number_is_an_error_of_its_row_alone(base, epoch, tmp_path):
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    supervision = Supervision(tokenizer(base), "tulu", LIMIT)
    rows = [set(supervision(0, messages).input_ids) for messages in SAMPLES[:2]]
    weights["model.embed_tokens.weight"][min(rows[1] - rows[0])] = math.nan
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for operator in (made(tmp_path, epoch), norm_of(tmp_path, epoch)):
        found = operator.load()(batch(SAMPLES[:2]))
        assert not isinstance(found[0], RowError)
        assert isinstance(found[1], RowError)
        assert found[1].kind == "nonfinite"


def test_a_gradient_of_zero_has_no_direction(base, epoch, tmp_path):
    nothing = altered(epoch, tmp_path, lambda name, weight: weight * 0)
    found = made(base, nothing, feature="sgd").load()(batch())
    assert [each.kind for each in found] == ["zero_gradient"] * len(SAMPLES)
