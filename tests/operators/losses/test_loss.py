"""Loss: the numbers are the model's, over the response alone, whatever is computed with it."""

import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch

from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.losses import loss
from operators.losses.loss import FIELDS, Loss
from operators.missing import ModelMissing
from operators.models import forward
from operators.models.causal import causal_model
from operators.models.tokenized import attempts, fitting_supervision
from operators.sample import MESSAGES
from operators.supervision.supervised import IGNORED, Supervision
from tests.small_device import small_device
from tests.tiny import tiny_causal

PAIRS = [
    ("Name a river.", "The Danube."),
    ("列举三种颜色。", "红色、蓝色和绿色。"),
    ("اشرح الفرق بين الطقس والمناخ", "👍🏽 e\u0301"),
    ("Кратко.", "Империя пришла в упадок. " * 3),
    ("Écris un poème.", "Il pleut. " * 60),
    ("?", "!"),
]
TWO_TURNS = [("Name a river.", "The Danube."), ("And one in 中国?", "长江。")]


def conversation(*turns):
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


CONVERSATIONS = [*map(conversation, PAIRS), conversation(*TWO_TURNS)]


def batch(*conversations) -> pa.Table:
    return pa.table({"id": range(len(conversations)), "messages": pa.array(list(conversations), MESSAGES)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


def operator(folder, **fields) -> Loss:
    return Loss(model=Checkpoint(str(folder)), **({"max_tokens": 120} | fields))


def plain_value(folder, messages, template="tulu", max_tokens=120):
    """The definition, from the table of all logits, in float64."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).double()
    row = Supervision(AutoTokenizer.from_pretrained(folder), template, max_tokens)(0, messages)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]
    labels = torch.tensor(row.labels[1:])
    chosen, targets = logits[labels != IGNORED], labels[labels != IGNORED]
    errors = chosen.softmax(1) - torch.nn.functional.one_hot(targets, chosen.shape[1])
    nll, el2n = -chosen.log_softmax(1)[range(len(targets)), targets], errors.norm(dim=1)
    numbers = (nll.mean(), nll.sum(), el2n.mean(), el2n.sum(), errors.norm())
    return {"tokens": len(targets)} | dict(zip(FIELDS, map(float, numbers), strict=True)) | {"truncated": row.truncated}


def assert_values(found, expected):
    assert found.keys() == expected.keys()
    assert (found["tokens"], found["truncated"]) == (expected["tokens"], expected["truncated"])
    np.testing.assert_allclose([found[name] for name in FIELDS], [expected[name] for name in FIELDS], rtol=2e-5)


@pytest.mark.parametrize("template", ["tulu", "alpaca", "chat", "plain"])
def test_values_are_those_of_the_whole_table_of_logits(folder, template):
    values = operator(folder, template=template).load()(batch(*CONVERSATIONS))
    for found, messages in zip(values, CONVERSATIONS, strict=True):
        assert_values(found, plain_value(folder, messages, template))
    assert values[4]["truncated"]
    assert not values[0]["truncated"]


def test_a_value_is_bitwise_the_same_whatever_is_with_it(folder):
    compute = operator(folder).load()
    together = compute(batch(*CONVERSATIONS))
    assert [compute(batch(messages))[0] for messages in CONVERSATIONS] == together
    assert compute(batch(*CONVERSATIONS[::-1]))[::-1] == together


@pytest.mark.parametrize("token_stats", [loss._by_tiles, loss._by_logits])
def test_samples_padded_together_have_nearly_the_same_values(folder, token_stats):
    """The passes of a GPU, computed here on the CPU."""
    model = causal_model(Checkpoint(str(folder)), None, "float32")
    rows = attempts(fitting_supervision(model, Checkpoint(str(folder)), "tulu", 120), batch(*CONVERSATIONS))
    with torch.inference_mode():
        together = loss._values(model, forward.language_head(model), rows, token_stats)
    for found, expected in zip(together, operator(folder).load()(batch(*CONVERSATIONS)), strict=True):
        assert_values(found, expected)


def test_the_prompt_and_what_follows_the_response_do_not_count(folder):
    """The same response after another prompt is scored over as many tokens, and a question after it adds none."""
    compute = operator(folder).load()
    first, other, asked = compute(
        batch(
            conversation(("Name a river.", "The Danube.")),
            conversation(("Name a mountain, please: 富士山", "The Danube.")),
            [*conversation(("Name a river.", "The Danube.")), {"role": "user", "content": "Another?"}],
        )
    )
    assert first["tokens"] == other["tokens"]
    assert first["nll_sum"] != other["nll_sum"]
    assert {name: asked[name] for name in ("tokens", *FIELDS)} == {name: first[name] for name in ("tokens", *FIELDS)}


def test_the_head_gets_no_hidden_state_where_tiles_do(folder):
    model = causal_model(Checkpoint(str(folder)), None, "float32")
    head = forward.language_head(model)
    assert forward.plain(model, head)
    with forward.caught(head) as states:
        logits = model(input_ids=torch.tensor([[1, 2, 3]])).logits
    assert logits.shape[:2] == (1, 0)
    assert states[0].shape[:2] == (1, 3)
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape[:2] == (1, 3)


def test_a_model_that_caps_its_logits_is_scored_by_them(tmp_path):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tiny_causal(tmp_path)
    config = Gemma2Config(
        vocab_size=json.loads((tmp_path / "config.json").read_text())["vocab_size"],
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        final_logit_softcapping=2.0,
    )
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path)
    loaded = causal_model(Checkpoint(str(tmp_path)), None, "float32")
    assert not forward.plain(loaded, forward.language_head(loaded))
    values = operator(tmp_path).load()(batch(*CONVERSATIONS[:3]))
    for found, messages in zip(values, CONVERSATIONS[:3], strict=True):
        assert_values(found, plain_value(tmp_path, messages))


def test_what_cannot_be_scored_is_an_error_beside_values(folder):
    rows = [conversation(("?", "")), CONVERSATIONS[0], [], conversation(("long " * 200, "Yes.")), CONVERSATIONS[1]]
    found = operator(folder).load()(batch(*rows))
    assert [isinstance(value, RowError) for value in found] == [True, False, True, True, False]
    assert {found[at].kind for at in (0, 2, 3)} == {"nothing_to_supervise"}
    assert_values(found[4], plain_value(folder, CONVERSATIONS[1]))


def test_a_loss_that_is_no_number_is_an_error_of_its_row_alone(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny_causal(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    made = operator(tmp_path, template="plain")
    row = Supervision(_tokenizer(tmp_path), "plain", 120)(0, CONVERSATIONS[1])
    weights["model.embed_tokens.weight"][row.input_ids[1]] = math.nan
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = made.load()(batch(*CONVERSATIONS[:2]))
    assert isinstance(found[0], dict)
    assert isinstance(found[1], RowError)
    assert found[1].kind == "nonfinite"


def _tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_an_adapter_changes_the_values_and_the_fingerprint(folder, tmp_path):
    made = operator(folder, adapter=Checkpoint(str(adapter(folder, tmp_path))))
    merged = tmp_path / "merged"
    shutil.copytree(folder, merged)
    model = causal_model(Checkpoint(str(folder)), made.adapter, "float32")
    model.merge_and_unload().save_pretrained(merged)
    for found, messages in zip(made.load()(batch(*CONVERSATIONS)), CONVERSATIONS, strict=True):
        assert_values(found, plain_value(merged, messages))
    assert made.fingerprint() != operator(folder).fingerprint()


def adapter(base, folder, modules=("q_proj", "k_proj", "v_proj", "o_proj")):
    """A folder with an adapter that does something, as a training run writes it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=16, target_modules=list(modules))
    )
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    shutil.copy(base / "config.json", folder)
    return folder


def test_an_adapter_of_another_model_is_refused_with_the_layers_there_are(folder, tmp_path):
    given = adapter(folder, tmp_path)
    settings = json.loads((given / "adapter_config.json").read_text())
    (given / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["query_key_value"]}))
    with pytest.raises(ValueError, match=r"query_key_value|linear layers are .*q_proj"):
        operator(folder, adapter=Checkpoint(str(given))).load()
    (given / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["q_proj"]}))
    with pytest.raises(ValueError, match=r"linear layers are .*q_proj.*16 weights where the model takes 4"):
        operator(folder, adapter=Checkpoint(str(given))).load()
    (given / "adapter_config.json").write_text(json.dumps(settings | {"r": 8}))
    with pytest.raises(ValueError, match=r"linear layers are .*q_proj"):
        operator(folder, adapter=Checkpoint(str(given))).load()


def test_pickled_weights_are_refused(folder, tmp_path):
    given = adapter(folder, tmp_path)
    torch.save({}, given / "adapter_model.bin")
    (given / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelMissing, match="safetensors"):
        operator(folder, adapter=Checkpoint(str(given))).load()
    with pytest.raises(ModelMissing, match="safetensors"):
        operator(folder, adapter=Checkpoint(str(given))).check()


def test_more_tokens_than_the_model_has_positions_are_refused(folder):
    with pytest.raises(ValueError, match="256 positions"):
        operator(folder, max_tokens=1000).load()


@pytest.mark.fault(
    "a GPU is out of memory",
    how="a forward pass raises OutOfMemoryError above a size",
    holds="the pass is halved, and the values are the same",
)
def test_a_pass_too_large_for_the_device_is_halved_and_no_row_is_at_fault(folder, monkeypatch):
    expected = operator(folder).load()(batch(*CONVERSATIONS))
    tried = small_device(monkeypatch, room=250)
    compute = operator(folder).load()
    for found, alone in zip(compute(batch(*CONVERSATIONS)), expected, strict=True):
        assert_values(found, alone)
    assert tried[1] > 250
    first = len(tried)
    compute(batch(*CONVERSATIONS))
    assert max(tried[first:]) <= 250  # the smaller budget is kept
    monkeypatch.undo()
    small_device(monkeypatch, room=60)
    compute = operator(folder).load()
    with pytest.raises(torch.OutOfMemoryError, match="120 tokens"):  # one row alone
        compute(batch(*CONVERSATIONS))
    assert_values(compute(batch(CONVERSATIONS[0]))[0], expected[0])
