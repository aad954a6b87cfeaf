"""The commands finetune and evaluate: a model is trained, and its held-out loss falls."""

import json

import numpy as np
import pytest
import yaml

from jobs import evaluate, finetune
from jobs.engine.outcome.evaluation import Evaluation, losses
from jobs.engine.terminal.errors import UsageError
from operators.checkpoint import Checkpoint
from operators.supervision.supervised import Supervision
from operators.training.finetune import Finetune, LoRA
from operators.training.model import trained_model
from tests.jobs.corpora import jsonl
from tests.jobs.corpora import records as corpus
from tests.jobs.pool_runs import declared, tokenizer
from tests.runs import losses_one_by_one
from tests.tiny import tiny_causal

ray_is_up = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@ray_is_up
def test_finetune_writes_a_model_whose_held_out_loss_evaluate_finds_lower(run, base, tmp_path):
    jsonl(tmp_path / "in.jsonl", corpus(40))
    jsonl(tmp_path / "a.jsonl", corpus(6, "x"))
    jsonl(tmp_path / "b.jsonl", corpus(5, "y"))
    fields = [f"base.name={base}", "template=alpaca", "epochs=2", "batch=8", "max_tokens=200", "precision=float32"]
    store = ["--store", "store"]
    adapter = ["lora.rank=4", "learning_rate=0.02"]
    code, said = run("in.jsonl", "--out", "adapter", *fields, *adapter, *store, command=finetune)
    assert code == 0, said
    code, said = run(
        "in.jsonl", "--out", "whole", *fields, "lora=none", "learning_rate=0.003", *store, command=finetune
    )
    assert code == 0, said
    assert "whole holds the model after epoch 2" in said
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "losses.jsonl", "manifest.yaml"} < names
    assert not {"adam.safetensors", "outcome.json"} & names
    manifest = yaml.safe_load((tmp_path / "whole/manifest.yaml").read_text())
    assert (manifest["run"]["fields"]["lora"], manifest["counts"]["samples"]) == (None, 40)
    assert run("in.jsonl", "--out", "whole", *fields, "lora=none", "seed=1", *store, command=finetune)[0] == 2

    shown = ["a.jsonl", "b.jsonl", *store, "precision=float32"]
    code, said = run(base, *shown, "template=alpaca", "max_tokens=200", "--out", "base.json", command=evaluate)
    assert code == 0, said
    for name in ("adapter", "whole"):
        code, said = run(name, *shown, "--out", f"{name}.json", command=evaluate)
        assert code == 0, said
        assert "template alpaca, 200 tokens; 0 without a loss, 0 cut" in said
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("base", "adapter", "whole")}
    for name in ("adapter", "whole"):
        assert found[name]["overall"]["loss"]["high"] < found["base"]["overall"]["loss"]["low"]
    overall, sources = found["whole"]["overall"], list(found["whole"]["sources"].values())
    assert [each["samples"] for each in sources] == [6, 5]
    assert sum(each["tokens"] for each in sources) == overall["tokens"]

    supervision = Supervision(tokenizer(base), "alpaca", 200)
    asked = [(row["instruction"], row["output"]) for row in [*corpus(6, "x"), *corpus(5, "y")]]
    rows = [
        supervision(at, [{"role": "user", "content": one}, {"role": "assistant", "content": other}])
        for at, (one, other) in enumerate(asked)
    ]
    model = trained_model(declared(base, lora=None), tmp_path / "whole")
    sums, counts = losses_one_by_one(model, rows)
    assert overall["loss"]["estimate"] == pytest.approx(sums.sum() / counts.sum(), rel=1e-4)
    assert sources[1]["loss"]["estimate"] == pytest.approx(sums[6:].sum() / counts[6:].sum(), rel=1e-4)
    assert overall["perplexity"]["estimate"] == pytest.approx(np.exp(overall["loss"]["estimate"]))


def test_a_classifiers_adapter_is_not_evaluated(tmp_path):
    (tmp_path / "training.json").write_text('{"declaration": {"labels": {"label": "kind", "classes": ["a", "b"]}}}')
    assert losses(str(tmp_path), Evaluation()).labels.classes == ("a", "b")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="train it whole, by lora=none"):
        losses(str(tmp_path), Evaluation())


def test_fields_of_a_training_run_are_read_from_the_command_line():
    wanted = finetune.trainer(["base.name=x", "lora=none", "clip=None", "betas=[0.9, 0.95]", "schedule=cosine"])
    assert wanted == Finetune(Checkpoint("x"), lora=None, clip=None, betas=(0.9, 0.95), schedule="cosine")
    assert finetune.trainer(["base.name=x", "lora.rank=8"]).lora == LoRA(rank=8)
    with pytest.raises(UsageError, match=r"base\.name="):
        finetune.trainer(["epochs=2"])
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        finetune.trainer(["base.name=x", "epoch=2"])
