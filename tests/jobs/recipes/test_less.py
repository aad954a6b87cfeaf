"""LESS as a user runs it: a planted kind is found, with and without a projection, and what cannot be scored is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from operators.kernels.correlation import spearman
from tests.jobs.corpora import jsonl, ledger, records
from tests.tiny import tiny_causal

pytestmark = pytest.mark.usefixtures("ray_session")

CITIES = ("Oslo", "Lima", "北京", "Kyiv", "Cairo", "Quito", "Seoul", "Paris", "Accra", "Hanoi", "Tunis", "Delhi")


def asked(kind: str, at: int, subtask: bool = False) -> dict:
    """A record of a kind of its own: short answers copied from a passage, or sums."""
    city, other = CITIES[at % 12], CITIES[(5 * at + 1) % 12]
    if kind == "reading":
        record = {"instruction": f"From {city} the train goes to {other}. Where does it go?", "output": f"To {other}."}
    else:
        record = {"instruction": f"{at} + {at + 1} =", "output": f"{2 * at + 1}"}
    return {**record, "subtask": kind} if subtask else record


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    rows = [*records(60), *(asked(kind, at) for kind in ("reading", "sums") for at in range(12))]
    return tiny_causal(tmp_path_factory.mktemp("base"), [f"{row['instruction']} {row['output']}" for row in rows])


def fields(base: Path, target: str) -> list[str]:
    train = {
        "base.name": base,
        "lora.rank": 8,
        "lora.alpha": 32,
        "epochs": 2,
        "batch": 8,
        "learning_rate": 3e-3,
        "precision": "float32",
        "max_tokens": 128,
    }
    return [f"target={target}", "warmup_share=0.4", *(f"train.{name}={value}" for name, value in train.items())]


def test_less_finds_what_is_like_its_targets_and_says_what_it_could_not_score(run, base, tmp_path):
    unscored = {"instruction": "音" * 400, "output": "cut away"}
    planted = [asked(kind, at) for kind in ("reading", "sums") for at in range(20, 30)]
    corpus = [unscored, *records(180), *planted]
    file = jsonl(tmp_path / "pool.jsonl", corpus)
    wanted = [asked(kind, at, True) for at in range(6) for kind in ("sums", "reading")]
    target = jsonl(tmp_path / "targets.jsonl", wanted)
    code, out = run("less", file, "--out", "free", *fields(base, target), "budget=20")
    assert code == 0, out
    rows, manifest = ledger(tmp_path / "free"), yaml.safe_load((tmp_path / "free/manifest.yaml").read_text())
    assert rows[0]["state"] == "quarantined"
    assert rows[0]["reason"].startswith("epoch_1: nothing_to_supervise")
    kept = [row["id"] for row in rows if row["state"] == "kept"]
    assert sum(each > 180 for each in kept) >= 15
    assert manifest["found"]["targets per subtask"] == {"reading": 6, "sums": 6}
    assert manifest["found"]["not scored"] == 1
    assert 0 <= min(manifest["found"]["second moments above epsilon"]) <= 1
    found = np.array([row["subtask"] for row in rows[1:]])
    assert (found[180:190] == 0).mean() > 0.7
    assert (found[190:] == 1).mean() > 0.7
    rates = np.array(manifest["found"]["learning rates"])
    epochs = np.array([[row["epoch_1"], row["epoch_2"]] for row in rows[1:]])
    np.testing.assert_allclose([row["score"] for row in rows[1:]], epochs @ (rates / rates.sum()), atol=1e-6)
    first = json.loads((tmp_path / "free/selected.jsonl").read_text().splitlines()[0])
    assert first == corpus[next(row["id"] for row in rows if row["rank"] == 1)]

    projected = [*fields(base, target), "train.epochs=1", "projection.dimensions=4096", "budget=20"]
    code, out = run("less", file, "--out", "projected", *projected)
    assert code == 0, out
    estimates = [row["score"] for row in ledger(tmp_path / "projected")[1:]]
    # Another warm-up, of one epoch: the same ranking but for that and the projection's error.
    assert spearman(epochs[:, 0], np.array(estimates)) > 0.8


def test_less_works_by_its_defaults_on_a_small_pool(run, base, tmp_path):
    file = jsonl(tmp_path / "pool.jsonl", records(200))
    target = jsonl(tmp_path / "targets.jsonl", [asked("sums", at) for at in range(3)])
    code, out = run("less", file, "--out", "out", f"target={target}", f"train.base.name={base}")
    assert code == 0, out
    assert "so all 3 are one subtask" in out
    found = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())["found"]
    assert (found["warm-up samples"], found["batch size"], found["targets per subtask"]) == (10, 8, {"all targets": 3})
    assert min(found["learning rates"]) > 0
    rows = ledger(tmp_path / "out")
    assert sum(row["state"] == "kept" for row in rows) == 10
    assert {"epoch_1", "epoch_2", "epoch_3", "epoch_4"} < set(rows[0])
    assert np.isfinite([row["score"] for row in rows]).all()


def test_less_keeps_a_batch_that_is_asked_for_and_does_not_compare_an_epoch_that_learnt_nothing(run, base, tmp_path):
    file = jsonl(tmp_path / "pool.jsonl", records(40))
    target = jsonl(tmp_path / "targets.jsonl", [asked("sums", at) for at in range(3)])
    asked_for = [*fields(base, target), "train.batch=128"]
    code, out = run("less", file, "--out", "out", *asked_for)
    assert code == 0, out
    assert "train: 16 samples in batches of 128, steps per epoch: 1, epochs: 2. All steps of epoch 1 have" in out
    assert "set batch=8, or warmup=0" in out
    found = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())["found"]
    assert (found["batch size"], found["learning rates"]) == (128, [0.0, 3e-3])
    rows = ledger(tmp_path / "out")
    assert "epoch_1" not in rows[0]
    np.testing.assert_allclose([row["score"] for row in rows], [row["epoch_2"] for row in rows], atol=1e-6)

    code, out = run("less", file, "--out", "none", *asked_for, "train.epochs=1")
    assert code == 2
    assert "16 samples in batches of 128, steps per epoch: 1, epochs: 1; the warm-up takes all of the run's 1" in out


def test_less_says_which_targets_lack_their_subtask(run, base, tmp_path):
    file = jsonl(tmp_path / "pool.jsonl", records(10))
    target = jsonl(tmp_path / "targets.jsonl", [asked("sums", at, at % 3 == 0) for at in range(9)])
    code, out = run("less", file, "--out", "out", *fields(base, target))
    assert code == 2
    assert "6 of 9 records have no 'subtask'" in out
    assert "targets.jsonl:2, " in out


@pytest.mark.parametrize(
    ("changes", "expected", "message"),
    [
        (["subtask=kind"], 2, "3 of 3 records have no 'kind'"),
        (["subtask=kind"], 2, "The fields of the first are instruction, output, subtask"),
        (["train.max_tokens=257"], 2, "max_tokens=257, but"),
        (["target="], 2, "target=FILE"),
        (["target=nowhere.jsonl"], 2, "nowhere.jsonl"),
        (["train.lora=none"], 2, "LoRA"),
        (["train.base.name=nowhere"], 1, "nowhere"),
        (["projection.kind=dense"], 2, "projection.kind"),
    ],
)
def test_less_refuses_what_it_cannot_use(run, base, tmp_path, capsys, changes, expected, message):
    file = jsonl(tmp_path / "pool.jsonl", records(10))
    target = jsonl(tmp_path / "targets.jsonl", [asked("sums", at, True) for at in range(3)])
    code, out = run("less", file, "--out", "out", *fields(base, target), *changes)
    assert code == expected
    assert message in out + capsys.readouterr().err


def test_less_wants_every_target_to_count_once(run, base, tmp_path, capsys):
    file = jsonl(tmp_path / "pool.jsonl", records(10))
    target = jsonl(tmp_path / "targets.jsonl", [asked("sums", 1, True), asked("sums", 1, True), {"output": 3}])
    code, out = run("less", file, "--out", "out", *fields(base, target))
    assert code == 2, out
    assert "1 quarantined and 1 duplicates" in out
