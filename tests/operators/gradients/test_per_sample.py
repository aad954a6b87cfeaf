"""Per-sample gradients of a batch equal those of a loop over the samples with autograd."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.gradients import features as gradient_features
from operators.gradients import per_sample
from operators.gradients.per_sample import Factors
from operators.models.by_length import Budget
from operators.models.forward import linear_layers
from operators.supervision.supervised import IGNORED

VOCABULARY = 61

ALONE = Budget(1)


@dataclass
class Row:
    input_ids: list[int]
    labels: list[int]


def row(prompt: int, response: int, seed: int) -> Row:
    ids = torch.randint(VOCABULARY, (prompt + response,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Row(ids, [IGNORED] * prompt + ids[prompt:])


def two_turns() -> Row:
    ids = row(0, 20, 9).input_ids
    return Row(ids, [IGNORED] * 4 + ids[4:7] + [IGNORED] * 6 + ids[13:])


ROWS = [row(3, 5, 1), row(12, 1, 2), row(1, 30, 3), two_turns(), row(0, 2, 4), row(3, 5, 5)]


def llama(tied=False):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
        )
    )
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval().requires_grad_(False)


def adapted(model=None, modules=("q_proj", "k_proj", "v_proj", "o_proj"), **settings):
    from peft import LoraConfig, get_peft_model

    chosen = {"r": 4, "lora_alpha": 16, "lora_dropout": 0.1} | settings
    model = get_peft_model(model or llama(), LoraConfig(target_modules=list(modules), task_type="CAUSAL_LM", **chosen))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model.eval().requires_grad_(False)


def mean_loss(model, sample: Row):
    """The loss that the model itself computes from all of its logits."""
    return model(input_ids=torch.tensor([sample.input_ids]), labels=torch.tensor([sample.labels])).loss


def one_by_one(model, names, rows=ROWS):
    """The definition: (rows, P) gradients in the parameters' order, and the losses."""
    weights = {name: weight for name, weight in model.named_parameters() if name in names}
    assert list(weights) == list(names)
    gradients, losses = [], []
    for weight in weights.values():
        weight.requires_grad_(True)
    for sample in rows:
        loss = mean_loss(model, sample)
        found = torch.autograd.grad(loss, list(weights.values()))
        gradients.append(torch.cat([each.flatten() for each in found]))
        losses.append(loss.detach())
    model.requires_grad_(False)
    return torch.stack(gradients), torch.stack(losses)


def tapped_gradients(model, layers, rows=ROWS):
    blocks = {}
    losses = per_sample.backward(model, rows, layers, lambda name, factors: blocks.update({name: factors.gradients()}))
    return torch.cat([blocks[name] for name in per_sample.parameters(layers)], 1), losses


def assert_close(found, expected, tolerance=1e-5):
    """Compares relative to each row's length, because only directions matter."""
    error = (found - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert error.max() <= tolerance


def without_gradients(model):
    return all(weight.grad is None and not weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("modules", [("q_proj", "k_proj", "v_proj", "o_proj"), ("down_proj",), ("q_proj", "lm_head")])
def test_lora_gradients_equal_the_loop(modules):
    model = adapted(modules=modules)
    layers = per_sample.adapter_layers(model)
    expected, losses = one_by_one(model, [name for name, _ in model.named_parameters() if "lora_" in name])
    found, means = tapped_gradients(model, layers)
    assert_close(found, expected)
    torch.testing.assert_close(means, losses, rtol=1e-5, atol=0)
    assert without_gradients(model)


def test_linear_weights_equal_the_loop_and_the_head_is_one_of_them():
    model = llama()
    layers = linear_layers(model)
    assert "lm_head" in layers
    expected, _ = one_by_one(model, list(per_sample.parameters(layers)))
    found, _ = tapped_gradients(model, layers)
    assert_close(found, expected)
    torch.testing.assert_close(per_sample.norms(model, ROWS, layers, ALONE)[0], expected.norm(dim=1), rtol=1e-5, atol=0)


def test_biases_have_gradients_too():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, num_key_value_heads=2, **shape))
    model.eval().requires_grad_(False)
    layers = linear_layers(model)
    expected, _ = one_by_one(model, list(per_sample.parameters(layers)))
    assert any(name.endswith("q_proj.bias") for name in per_sample.parameters(layers))
    assert_close(tapped_gradients(model, layers)[0], expected)


def test_the_head_of_a_tied_model_counts_as_the_head_alone():
    model = llama(tied=True)
    layers = {"lm_head": model.lm_head}
    norms = []
    for sample in ROWS:
        where = torch.tensor(sample.labels[1:]) != IGNORED
        hidden = model.model(torch.tensor([sample.input_ids])).last_hidden_state[0, :-1][where]
        weight = model.lm_head.weight.detach().clone().requires_grad_(True)
        loss = F.cross_entropy(hidden @ weight.T, torch.tensor(sample.labels[1:])[where])
        norms.append(torch.autograd.grad(loss, weight)[0].norm())
    torch.testing.assert_close(per_sample.norms(model, ROWS, layers, ALONE)[0], torch.stack(norms), rtol=1e-5, atol=0)


def test_last_layer_norms_are_those_computed_by_hand():
    """Two-token responses with p = (.7, .2, .1), y = 0 and p = (.1, .8, .1), y = 2, as logits of a head."""
    errors = torch.tensor([[-0.3, 0.2, 0.1], [0.1, 0.8, -0.9]]) / 2
    for hidden, expected in (([[1.0, 0.0], [0.0, 1.0]], 0.632456), ([[1.0, 0.0], [1.0, 0.0]], 0.648074)):
        squares = Factors(torch.tensor([hidden]), errors[None]).squared_norms()
        torch.testing.assert_close(squares.sqrt(), torch.tensor([expected]), rtol=1e-5, atol=0)


@settings(max_examples=40, deadline=None)
@given(*[st.integers(1, 12)] * 3, st.integers(0, 2**31))
def test_squared_norms_are_the_gradients_whichever_way(tokens, i, o, seed):
    generator = torch.Generator().manual_seed(seed)
    factors = Factors(torch.randn(3, tokens, i, generator=generator), torch.randn(3, tokens, o, generator=generator))
    expected = torch.stack([factors.errors[b].T @ factors.inputs[b] for b in range(3)]).flatten(1)
    torch.testing.assert_close(factors.gradients(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(factors.squared_norms(), expected.square().sum(1), rtol=1e-4, atol=1e-4)


def test_a_sample_has_the_same_gradient_alone_and_in_any_batch():
    model = adapted()
    layers = per_sample.adapter_layers(model)
    together, _ = tapped_gradients(model, layers)
    alone = torch.cat([tapped_gradients(model, layers, [sample])[0] for sample in ROWS])
    assert_close(together, alone)
    assert_close(tapped_gradients(model, layers, ROWS[::-1])[0].flip(0), alone)


def test_what_is_not_supervised_and_follows_the_response_counts_for_nothing():
    model = adapted()
    layers = per_sample.adapter_layers(model)
    longer = Row([*ROWS[0].input_ids, 7, 8, 9], [*ROWS[0].labels, IGNORED, IGNORED, IGNORED])
    assert_close(tapped_gradients(model, layers, [longer])[0], tapped_gradients(model, layers, ROWS[:1])[0])


def test_dropout_is_off_and_twice_is_the_same():
    model = adapted(lora_dropout=0.9)
    layers = per_sample.adapter_layers(model)
    first, _ = tapped_gradients(model, layers)
    assert torch.equal(first, tapped_gradients(model, layers)[0])


def test_features_map_part_by_part_as_they_would_the_whole():
    model = adapted()
    layers = per_sample.adapter_layers(model)
    gradients, _ = tapped_gradients(model, layers)
    sizes = {name: weight.numel() for name, weight in per_sample.parameters(layers).items()}
    matrix = dict(zip(sizes, torch.randn(gradients.shape[1], 7).split(list(sizes.values())), strict=True))
    shift = dict(zip(sizes, torch.randn(gradients.shape[1]).split(list(sizes.values())), strict=True))
    images, squares = gradient_features.mapped_features(
        model, ROWS, layers, ALONE, lambda name, g: 2 * g + shift[name], lambda name, f: f @ matrix[name], 7
    )
    features = 2 * gradients + torch.cat(list(shift.values()))
    torch.testing.assert_close(squares.sqrt().float(), features.norm(dim=1), rtol=1e-5, atol=0)
    torch.testing.assert_close(images, features @ torch.cat(list(matrix.values())), rtol=1e-4, atol=1e-4)


def test_the_head_runs_on_supervised_positions_only():
    model = adapted()
    seen = []
    handle = model.get_output_embeddings().register_forward_hook(lambda _, given, out: seen.append(out.shape[:-1]))
    per_sample.backward(model, ROWS, per_sample.adapter_layers(model), lambda name, factors: None)
    handle.remove()
    assert seen == [(1, sum(label != IGNORED for sample in ROWS for label in sample.labels[1:]))]
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, VOCABULARY)


def test_nothing_below_the_first_tapped_layer_is_differentiated():
    model = llama()
    layers = {name: layer for name, layer in linear_layers(model).items() if name.startswith("model.layers.2.")}
    states = []
    handle = model.model.layers[1].register_forward_hook(lambda _, given, out: states.append(out))
    per_sample.backward(model, ROWS, layers, lambda name, factors: None)
    handle.remove()
    assert not any(each.requires_grad for each in states)


def test_a_layer_out_of_use_has_the_gradient_zero():
    model = llama()
    model.spare = torch.nn.Linear(5, 6).requires_grad_(False)
    layers = linear_layers(model)
    gradients, _ = tapped_gradients(model, layers)
    assert not gradients[:, -36:].any()
    assert gradients.shape[1] == sum(weight.numel() for weight in per_sample.parameters(layers).values())


def test_a_model_in_bfloat16_has_nearly_the_same_gradients():
    exact, _ = tapped_gradients(model := adapted(), per_sample.adapter_layers(model))
    half = model.to(torch.bfloat16)
    found, _ = tapped_gradients(half, per_sample.adapter_layers(half))
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found, exact).min() > 0.99


def test_a_row_with_nothing_to_supervise_is_refused():
    model = adapted()
    for nothing in (Row([1, 2, 3], [IGNORED] * 3), Row([1, 2], [1, IGNORED])):
        with pytest.raises(ValueError, match="no token to supervise"):
            per_sample.backward(model, [ROWS[0], nothing], per_sample.adapter_layers(model), lambda name, factors: None)


def test_a_layer_applied_twice_is_refused_and_leaves_no_hook():
    model = llama()
    model.model.layers[1].self_attn.q_proj = model.model.layers[0].self_attn.q_proj
    layers = linear_layers(model)
    with pytest.raises(ValueError, match=r"q_proj is applied more than once"):
        tapped_gradients(model, layers)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_failing_sink_is_heard():
    model = adapted()

    def refuse(name, factors):
        raise MemoryError(name)

    with pytest.raises(MemoryError, match="lora_B"):
        per_sample.backward(model, ROWS, per_sample.adapter_layers(model), refuse)


def test_an_adapter_that_is_more_than_lora_of_linear_layers_is_refused():
    for settings_ in ({"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "lora_only"}):
        model = adapted(**settings_) if "bias" not in settings_ else adapted(_qwen(), **settings_)
        with pytest.raises(ValueError, match="no LoRA A or B of a linear layer"):
            per_sample.adapter_layers(model)


def _qwen():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, num_key_value_heads=2, **shape))


def test_any_number_of_rows_give_what_each_gives_alone_bitwise():
    model = adapted()
    layers = per_sample.adapter_layers(model)

    def whole(rows):
        return gradient_features.whole_features(model, rows, layers, ALONE, lambda name, g: g)

    together = whole(ROWS)
    alone = torch.cat([whole([sample]) for sample in ROWS])
    assert torch.equal(together, alone)
    assert_close(together, one_by_one(model, [name for name, _ in model.named_parameters() if "lora_" in name])[0])


@pytest.mark.parametrize("budget", [2, 40, 4096])
def test_norms_and_images_do_not_depend_on_the_budget(budget):
    model = adapted()
    layers = per_sample.adapter_layers(model)
    norms, losses = per_sample.norms(model, ROWS, layers, Budget(budget))
    expected, expected_losses = per_sample.norms(model, ROWS, layers, ALONE)
    torch.testing.assert_close(norms, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=0)


def test_a_pass_that_runs_out_of_memory_half_way_is_computed_again_in_smaller_ones(monkeypatch):
    model = adapted()
    layers = per_sample.adapter_layers(model)
    expected = [
        *per_sample.norms(model, ROWS, layers, ALONE),
        *gradient_features.mapped_features(model, ROWS, layers, ALONE, lambda _, g: g, lambda _, f: f[:, :3], 3),
    ]
    last = next(iter(per_sample.parameters(layers)))
    deliver = per_sample.backward

    def backward(model, rows, layers, sink, losses):
        def small(name, factors):
            if name == last and factors.inputs.shape[0] > 2:
                raise torch.OutOfMemoryError
            sink(name, factors)

        return deliver(model, rows, layers, small, losses)

    monkeypatch.setattr(per_sample, "backward", backward)
    budget = Budget(4096)
    found = [
        *per_sample.norms(model, ROWS, layers, budget),
        *gradient_features.mapped_features(model, ROWS, layers, Budget(4096), lambda _, g: g, lambda _, f: f[:, :3], 3),
    ]
    assert budget.tokens < 4096
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
