"""InstructMining as a user runs it: the published rules' predictions, rules in files, and the size that is searched."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from jobs.engine.command.config import Request, build
from jobs.engine.store.feature import Feature
from jobs.methods.instructmining.rules import PUBLISHED
from operators.kernels.neighbours import neighbours
from tests.jobs.corpora import jsonl, ledger, records
from tests.jobs.recipes.declared import assert_did_what_it_declares
from tests.tiny import tiny_causal, tiny_reward


@pytest.mark.parametrize(
    ("rule", "values", "predicted"),
    [
        ("v3", {"rew": 1, "und": 0.9, "nat": 0.9, "coh": 0.9}, -0.008390),
        ("v3", {"rew": 3, "und": 0.9, "nat": 0.9, "coh": 0.9}, -0.023990),
        ("v3", {"rew": 1, "und": 0.9, "nat": 0.5, "coh": 0.9}, 0.120090),
        ("v3", {"rew": 1, "und": 0.5, "nat": 0.9, "coh": 0.9}, -0.185230),
        ("v3", {"rew": 0, "und": 0, "nat": 0, "coh": 0}, 0.027400),
        ("v1", {"rew": 1, "len_out": 100, "knn": 0.5}, 0.460357),
        ("v1", {"rew": 2, "len_out": 100, "knn": 0.5}, 0.310557),
        ("v1", {"rew": 1, "len_out": 1000, "knn": 0.5}, 0.534670),
        ("v1", {"rew": 1, "len_out": 100, "knn": 0.8}, 0.179857),
    ],
)
def test_the_published_rules_predict_their_golden_vectors(rule, values, predicted):
    columns = {name: np.array([value, 2 * value], np.float64) for name, value in values.items()}
    assert PUBLISHED[rule].predicted(columns)[0] == pytest.approx(predicted, abs=1e-9)
    assert PUBLISHED[rule].provenance


def refusals(*fields) -> list[str]:
    return list(build("instructmining", Request(), fields).refusals())


def test_a_published_rule_refuses_other_models_unless_they_are_vouched_for():
    assert refusals() == refusals("rule=v1") == refusals("embed.model.name=/models/e5") == []
    (told,) = refusals("reward.model.name=/models/other")
    assert "v3 was fitted with rew by OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5, not by /models/other" in told
    assert len(refusals("unieval.model.name=/models/other")) == 3
    assert len(refusals("rule=v1", "embed.model.name=/models/e5", "length_out.model.name=/models/base")) == 2
    assert refusals("reward.model.name=/models/other", "models=vouched") == []


def written_rule(path: Path, fields, **changes) -> str:
    """A rule.json of two indicators, measured as by a recipe with these fields."""
    recipe = build("instructmining", Request(), fields)
    content = {
        "winnow_rule": 1,
        "constant": 1.0,
        "coefficients": {"knn": -0.5, "mtld": 0.25},
        "indicators": {name: recipe.identity(name) for name in ("knn", "mtld")},
        "provenance": "a test",
    }
    path.write_text(json.dumps(content | changes))
    return str(path)


def test_a_rule_in_a_file_refuses_indicators_of_other_models_versions_and_forms(tmp_path):
    precise = "embed.precision=float32"
    rule = f"rule={written_rule(tmp_path / 'rule.json', [precise])}"
    assert refusals(rule, precise) == []
    for changed in ("embed.precision=bfloat16", "neighbour=5"):
        (told,) = refusals(rule, precise, changed)
        name, value = changed.removeprefix("embed.").split("=")
        assert f"fitted with knn by {name}={'float32' if name == 'precision' else 6}, not by {name}={value}" in told
    assert "diversity" in refusals(rule, precise, "diversity.threshold=0.6")[0]
    content = json.loads(Path(rule.removeprefix("rule=")).read_text())
    content["indicators"]["mtld"] |= {"version": 7, "fingerprint": "of another version"}
    (told,) = refusals(f"rule={written_rule(tmp_path / 'b.json', [precise], **content)}", precise)
    assert "fitted with mtld by version=7, not by version=1" in told
    for path, said in (
        (written_rule(tmp_path / "c.json", [], winnow_rule=2), "has the form 2, and this version of Winnow reads 1"),
        (written_rule(tmp_path / "d.json", [], coefficients={"luck": 1.0}), "unknown indicator luck"),
        (str(tmp_path / "none.json"), "neither v3 nor v1"),
        (jsonl(tmp_path / "e.json", [{"a": 1}]), "has the form None"),
    ):
        (told,) = refusals(f"rule={path}")
        assert said in told


def test_a_search_is_refused_without_its_files_or_a_range(tmp_path):
    assert len(refusals("size=search")) == 2
    held_out = jsonl(tmp_path / "h.jsonl", records(3))
    told = refusals("size=search", f"chosen_on={held_out}", f"reported_on={held_out}", "least=9", "most=5")
    assert [line.split(":")[0] for line in told] == [
        "least=9 is above most=5",
        "chosen_on and reported_on are one file",
    ]


@pytest.mark.usefixtures("ray_session")
def test_a_rule_in_a_file_ranks_by_its_indicators_and_the_size_is_searched_by_fine_tunes(run, tmp_path):
    rows = records(40)
    base = tiny_causal(tmp_path / "base", [f"{row['instruction']} {row['output']}" for row in rows])
    file = jsonl(tmp_path / "in.jsonl", rows)
    held_out = [jsonl(tmp_path / f"{name}.jsonl", records(6, name)) for name in ("chosen", "reported")]
    fields = ["embed.precision=float32", "embed.stored=float32", "neighbour=2"]
    fields.append(f"rule={written_rule(tmp_path / 'rule.json', fields)}")
    train = {
        "base.name": base,
        "lora.rank": 2,
        "epochs": 1,
        "batch": 4,
        "learning_rate": 1e-2,
        "warmup": 0,
        "max_tokens": 96,
    }
    search = [
        "size=search", "least=3", "most=20", "trials=4", f"chosen_on={held_out[0]}", f"reported_on={held_out[1]}",
        *(f"train.{name}={value}" for name, value in {**train, "precision": "float32", "template": "tulu"}.items()),
    ]  # fmt: skip
    code, said = run("instructmining", file, "--out", "out", *fields, *search)
    assert code == 0, said
    manifest = assert_did_what_it_declares(tmp_path / "out")
    samples = sorted((row for row in ledger(tmp_path / "out") if row["id"] is not None), key=lambda row: row["id"])
    feature = Feature(next(entry["feature"] for entry in manifest["verbs"] if entry.get("map") == "embed"))
    vectors = feature.values(np.arange(40))
    assert [row["knn"] for row in samples] == pytest.approx(neighbours(vectors, 2).distances.tolist())
    predicted = [1.0 - 0.5 * row["knn"] + 0.25 * row["mtld"] for row in samples]
    assert [row["score"] for row in samples] == pytest.approx([-value for value in predicted])
    found = manifest["found"]
    kept = sorted((row for row in samples if row["state"] == "kept"), key=lambda row: row["rank"])
    order = sorted(samples, key=lambda row: (-row["score"], row["id"]))
    assert [row["id"] for row in kept] == [row["id"] for row in order[: found["size"]]]
    losses = found["loss of each size"]
    assert len(losses) == 4
    assert losses[str(found["size"])] == min(losses.values()) == found["loss on the file that decided"]
    assert found["loss on the other file"] != found["loss on the file that decided"]
    trials = [json.loads(line) for line in Path(found["trial log"]).read_text().splitlines()]
    assert {f"{trial['size']}": trial["loss"] for trial in trials} == losses
    assert sum("train" in entry for entry in manifest["verbs"]) == 5  # one is found again, for the third file

    code, said = run("instructmining", file, "--out", "more", *fields, *search, "trials=5")
    assert code == 0, said
    more = yaml.safe_load((tmp_path / "more/manifest.yaml").read_text())
    assert {name: more["found"]["loss of each size"][name] for name in losses} == losses
    assert sum(entry["computed"] > 0 for entry in more["verbs"] if "train" in entry) <= 1

    assert "holds this very run" in run("instructmining", file, "--out", "out", *fields, *search)[1]
    written_rule(tmp_path / "rule.json", fields[:3], constant=2.5)
    code, said = run("instructmining", file, "--out", "out", *fields, *search)
    assert code == 0, said
    assert "rule.json changed: running again" in said
    assert min(-row["score"] for row in ledger(tmp_path / "out")) == pytest.approx(min(predicted) + 1.5)


@pytest.mark.usefixtures("ray_session")
def test_v1_measures_the_sixth_neighbour_and_conversations_can_be_left_out(run, tmp_path):
    rows = records(30)
    turns = [("user", "Hi."), ("assistant", "Hello."), ("user", "A river?"), ("assistant", "The Rhine.")]
    rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    file, reward = jsonl(tmp_path / "in.jsonl", rows), tiny_reward(tmp_path / "reward")
    fields = [
        "rule=v1", "models=vouched", f"reward.model.name={reward}", f"length_out.model.name={reward}", "turns=single",
        "embed.precision=float32", "embed.stored=float32", "budget=5",
    ]  # fmt: skip
    code, said = run("instructmining", file, "--out", "out", *fields)
    assert code == 0, said
    assert_did_what_it_declares(tmp_path / "out")
    samples = sorted(ledger(tmp_path / "out"), key=lambda row: row["id"])
    assert [row["reason"] for row in samples].count("several turns") == 1
    assert samples[30]["reason"] == "several turns"
    assert samples[30]["score"] is None
    for row in samples[:30]:
        predicted = 1.0694 - 0.1498 * row["rew"] + 8.257e-5 * row["len_out"] - 0.9350 * row["knn"]
        assert -row["score"] == pytest.approx(predicted, abs=1e-6)
