"""MoDS as a user runs it: a seed, a model that learns it and answers by vLLM, and what it answers badly."""

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from tests.jobs.corpora import jsonl, ledger, records
from tests.jobs.recipes.declared import assert_did_what_it_declares
from tests.tiny import tiny_causal, tiny_reward

pytestmark = pytest.mark.usefixtures("ray_session")


def test_mods_trains_on_its_seed_asks_about_the_rest_and_keeps_what_is_answered_badly(run, tmp_path):
    base = tiny_causal(tmp_path / "base", [f"{row['instruction']} {row['output']}" for row in records(60)], head=32)
    fields = {
        "reward.model.name": tiny_reward(tmp_path / "reward"),
        "train.base.name": base,
        "train.lora.rank": 4,
        "train.epochs": 1,
        "train.batch": 4,
        "train.learning_rate": 1e-3,
        "train.precision": "float32",
        "train.max_tokens": 128,
        "answer_tokens": 8,
        "quality": 0.5,
        "need": 0.5,
    }
    words = [f"{name}={value}" for name, value in fields.items()]
    file = jsonl(tmp_path / "in.jsonl", records(60))
    code, said = run("mods", file, "--out", "first", *words, "budget=12")
    assert code == 0, said
    rows, manifest = ledger(tmp_path / "first"), yaml.safe_load((tmp_path / "first/manifest.yaml").read_text())
    kept = sorted((row for row in rows if row["state"] == "kept"), key=lambda row: row["rank"])
    assert_did_what_it_declares(tmp_path / "first")
    found = manifest["found"]
    assert found["in the seed"] == 6
    assert len(kept) == 12
    assert [row["answer_reward"] is None for row in kept] == [True] * 6 + [False] * 6
    assert all(row["answer_reward"] < found["answer_reward below"] for row in kept[6:])
    assert found["answered"] == sum(row["answer_reward"] is not None for row in rows) == found["high quality"] - 6
    trained = Path(next(each["folder"] for each in manifest["verbs"] if "train" in each))
    asked = AutoTokenizer.from_pretrained(trained / "whole" / "epoch-1").apply_chat_template(
        [{"role": "user", "content": "Explain maps."}], add_generation_prompt=True, tokenize=False
    )
    assert asked.startswith("<s>")
    assert asked.endswith("### Instruction:\nExplain maps.\n\n### Response:")

    code, said = run("mods", file, "--out", "second", *words, "budget=12", "need=1.0")
    assert code == 0, said
    counts = [
        each["computed"]
        for each in yaml.safe_load((tmp_path / "second/manifest.yaml").read_text())["verbs"]
        if "computed" in each
    ]
    assert counts == [0] * len(counts)
    assert json.loads((tmp_path / "second/selected.jsonl").read_text().splitlines()[0])["number"] == kept[0]["line"] - 1
