"""Two processes that train together, on copies or shards of a model, against one process."""

import json
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from operators.models.by_length import batches
from operators.training.finetune import LoRA
from operators.training.loop import train
from tests.runs import declared, lines, tensors

RANK = """
import pickle, sys
from pathlib import Path
import torch, torch.distributed as dist
from operators.training import epochs, model as models, ranks
from operators.training.loop import train
from operators.training.model import empty_model, trained_model
from torch.distributed.fsdp import FSDPModule
runs, meeting, rank = sys.argv[1:]
def refuse(*paths, **options):
    raise AssertionError("weights and moments of shards are read by rank 0 alone")
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2)
assert ranks.here("copies").exchanged({"from": rank}) == [{"from": "0"}, {"from": "1"}]
reading, last = (models.loaded_model, epochs.load_file), {}
for declaration, samples, folder, layout in pickle.loads(Path(runs).read_bytes()):
    models.loaded_model, epochs.load_file = reading if rank == "0" or layout == "copies" else (refuse, refuse)
    found = train(declaration, samples, folder, tokens=100, layout=layout)
    assert [path.name for path in found] == ["epoch-1", "epoch-2"]
    if folder.name in ("copies", "whole", "clipped"):
        last[folder.name] = declaration, found[-1], layout
models.loaded_model = reading[0]
for declaration, epoch, layout in last.values():
    expected = trained_model(declaration, epoch)
    tensors = [*expected.named_parameters(), *expected.named_buffers()]
    values = {name: weight.detach().clone() for name, weight in tensors}
    whole = sum(weight.numel() for weight in expected.parameters())
    together = ranks.here(layout)
    model = expected if together.reads else empty_model(declaration, epoch)
    assert together.reads or all(weight.is_meta for weight in model.parameters())
    together.hold(model, torch.device("cpu"), "float32")
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        given = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        assert torch.equal(given, values.pop(name)), name
    assert not values
    held = sum((weight.to_local() if layout == "shards" else weight).numel() for weight in model.parameters()
               if weight.dim() > 1)
    assert (held < 0.6 * whole) == (layout == "shards")
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    tied = ends[0].weight is ends[1].weight  # of a matrix at both ends no module can be gathered alone
    if layout == "shards":
        assert [isinstance(end, FSDPModule) for end in ends] == [not tied, not tied]
dist.destroy_process_group()
"""


def begun_on_two_ranks(runs, folder) -> list[subprocess.Popen]:
    """Starts both ranks, which carry out the runs one after another: (declaration, samples, folder, layout) each."""
    (folder / "runs").write_bytes(pickle.dumps(runs))
    arguments = [sys.executable, "-c", RANK, str(folder / "runs"), str(folder / "meeting")]
    return [subprocess.Popen([*arguments, str(rank)]) for rank in (0, 1)]


def assert_near(folder, other, atol):
    """Compares the losses and the last epoch of two runs of two epochs, up to the order of sums."""
    for found, expected in zip(lines(folder), lines(other), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    found, expected = tensors(folder / "epoch-2"), tensors(other / "epoch-2")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=atol)


def tied(base, folder):
    """Writes the model with its embeddings as its head, and returns the folder."""
    shutil.copytree(base, folder)
    config = json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def of_experts(base, folder):
    """Writes a mixture of experts with the tokenizer of the base; its class reads one of its vectors in float32."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(0)
    widths = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1}
    config = DeepseekV3Config(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        first_k_dense_replace=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **widths,
        **experts,
    )
    DeepseekV3ForCausalLM(config).save_pretrained(folder)
    return folder


def copied(run, folder):
    """Copies a run as it was after its first epoch."""
    shutil.copytree(run / "epoch-1", folder / "epoch-1")
    shutil.copy(run / "losses.jsonl", folder)


@pytest.fixture(scope="module")
def trained(base, samples, tmp_path_factory):
    """The declarations, and a folder with what one process ("one") and two ranks ("two") trained by them.

    Both ranks carry out all runs, on copies and on shards, as their imports take longer than these.
    """
    folder = tmp_path_factory.mktemp("ranks")
    fields = {"lora": None, "learning_rate": 1e-3, "batch": 5}
    declarations = {
        "copies": declared(base),
        "whole": declared(tied(base, folder / "tied"), **fields, clip=None),
        "clipped": declared(base, **fields, clip=0.1),
        "adapter": declared(base, batch=5, precision="bfloat16"),
        "experts": declared(
            of_experts(base, folder / "experts"),
            lora=LoRA(rank=2, modules=("q_b_proj", "o_proj")),
            batch=5,
            precision="bfloat16",
        ),
    }
    for name, declaration in declarations.items():
        train(declaration, samples, folder / "one" / name, tokens=100)
    copied(folder / "one" / "whole", folder / "two" / "gone on")
    runs = [
        (declaration, samples, folder / "two" / name, "copies" if name == "copies" else "shards")
        for name, declaration in declarations.items()
    ]
    runs.append((declarations["whole"], samples, folder / "two" / "gone on", "shards"))
    assert [rank.wait(timeout=240) for rank in begun_on_two_ranks(runs, folder)] == [0, 0]
    return declarations, folder


def test_two_ranks_train_as_one_process_does_dropout_included(trained):
    _, folder = trained
    assert_near(folder / "two" / "copies", folder / "one" / "copies", 2e-4)


def test_two_ranks_that_share_a_model_train_as_one_process_and_either_goes_on_where_the_other_was(trained, samples):
    declarations, folder = trained
    whole = declarations["whole"]
    lengths = [[len(samples[at].input_ids) for at in positions] for positions in whole.batches(18, 1)]
    assert [len(list(batches(each, 100))) for each in lengths] == [
        3,
        3,
        3,
        2,
    ]  # the second rank has none left in three steps
    for name in ("whole", "clipped", "adapter", "experts"):
        assert_near(folder / "two" / name, folder / "one" / name, 1e-5)
        first, second = ({path.name for path in (folder / one / name / "epoch-2").iterdir()} for one in ("one", "two"))
        assert first == second
    copied(folder / "two" / "whole", folder / "one" / "gone on")
    train(whole, samples, folder / "one" / "gone on", tokens=100)
    for one in ("one", "two"):
        assert_near(folder / one / "gone on", folder / "one" / "whole", 1e-5)
