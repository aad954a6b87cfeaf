"""Training on the samples of a pool: what is trained, found again, recorded and refused."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file

from jobs.engine.execute.profile import Profile
from jobs.engine.pool.pool import Pool
from jobs.engine.samples.pool_folder import Samples
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import UsageError, WinnowError
from jobs.engine.train import train_worker, training
from jobs.engine.train.checkpoints import training_folder
from operators.missing import ModelMissing
from operators.supervision.labels import Labels
from operators.supervision.supervised import Supervision
from operators.training.files import LOSSES, epoch_outcomes
from operators.training.loop import train
from tests.jobs.pool_runs import TEXTS, declared, tokenizer
from tests.runs import lines, spoilt
from tests.tiny import tiny_causal

ray_is_up = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@ray_is_up
def test_a_pool_is_trained_on_once_and_as_the_loop_would(make_pool, base, tmp_path):
    pool, trainer = make_pool(TEXTS), declared(base)
    ids = np.array([3, 17, 5, 11, 2, 9, 21, 0, 14, 7])
    checkpoints = pool[ids].train(trainer)
    folder = Path(checkpoints[0].name).parent
    assert folder.parent == Path(pool.session.store.url) / "trained"
    assert [each.name for each in checkpoints] == [str(folder / "epoch-1"), str(folder / "epoch-2")]
    supervision = Supervision(tokenizer(base), "tulu", 64)
    rows = [
        supervision(
            int(at), [{"role": "user", "content": TEXTS[at]}, {"role": "assistant", "content": TEXTS[at].upper()}]
        )
        for at in np.sort(ids)
    ]
    expected = train(trainer, rows, tmp_path / "loop")
    assert [line["loss"] for line in lines(folder)] == pytest.approx(
        [line["loss"] for line in lines(tmp_path / "loop")]
    )
    for found, known in zip(checkpoints, expected, strict=True):
        weights, others = (load_file(Path(each) / "adapter_model.safetensors") for each in (found.name, known))
        for name, weight in others.items():
            torch.testing.assert_close(weights[name], weight, rtol=1e-4, atol=1e-5)
        assert {"adam.safetensors", "training.json", "tokenizer.json"} < {
            path.name for path in Path(found.name).iterdir()
        }
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert pool[np.sort(ids)[::-1]].train(trainer) == checkpoints
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps
    first, second = pool.session.log
    assert (first["train"], first["samples"], first["computed"], first["stored"]) == (str(base), 10, 10, 0)
    assert (second["computed"], second["stored"], second["loss"]) == (0, 10, first["loss"])


def test_what_is_trained_is_told_apart_by_trainer_pool_and_ids(session, base):
    one = Samples("somewhere", {"fingerprint": "a", "text_fingerprint": "a", "samples": 4})
    other = Samples("somewhere", {"fingerprint": "b", "text_fingerprint": "b", "samples": 4})
    ids = np.arange(3)
    folders = {
        training_folder(one, session.store, declared(base), ids),
        training_folder(other, session.store, declared(base), ids),
        training_folder(one, session.store, declared(base, seed=1), ids),
        training_folder(one, session.store, declared(base), ids + 1),
    }
    assert len(folders) == 4
    assert training_folder(one, session.store, declared(str(base) + "/"), ids) in folders


@ray_is_up
@pytest.mark.fault(
    "a training is cut off",
    how="a folder whose last epoch is not whole",
    holds="training goes on after the last whole one",
)
def test_a_run_goes_on_after_its_last_whole_epoch(make_pool, base):
    pool, trainer = make_pool(TEXTS[:8]), declared(base, batch=4)
    first, second = (Path(each.name) for each in pool[np.arange(8)].train(trainer))
    weights, losses = load_file(second / "adapter_model.safetensors"), lines(first.parent)
    for path in [*second.iterdir()]:
        path.unlink()
    second.rmdir()
    (first.parent / ".epoch-2").mkdir()
    stamp = (first / "training.json").stat().st_mtime_ns
    pool[np.arange(8)].train(trainer)
    assert (first / "training.json").stat().st_mtime_ns == stamp
    for name, weight in load_file(second / "adapter_model.safetensors").items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-4, atol=1e-5)
    assert [line["loss"] for line in lines(first.parent)] == pytest.approx([line["loss"] for line in losses])
    assert not (first.parent / ".epoch-2").exists()


@ray_is_up
@pytest.mark.parametrize("layout", ["copies", "shards"])
def test_two_workers_of_ray_train_have_the_losses_of_one(make_pool, base, layout):
    pool, trainer = make_pool(TEXTS), declared(base)
    found = []
    alone = Profile(train_threads=1, train_tokens=128)  # of 8 samples several passes
    for profile in (alone, replace(alone, train_workers=2, train_layout=layout)):
        store = Store(f"{pool.session.store.url}-{profile.train_workers}")
        session = replace(pool.session, profile=profile, store=store)
        found.append(Path(replace(pool, session=session)[np.arange(24)].train(trainer)[-1].name))
    one, two = found
    assert two.parent.name == one.parent.name
    assert {path.name for path in two.parent.iterdir()} == {"epoch-1", "epoch-2", "losses.jsonl", "outcome.json"}
    for own, other in zip(lines(two.parent), lines(one.parent), strict=True):
        assert own == pytest.approx(other, rel=1e-4)
    for name, weight in load_file(one / "adapter_model.safetensors").items():
        torch.testing.assert_close(load_file(two / "adapter_model.safetensors")[name], weight, rtol=1e-3, atol=2e-4)


@ray_is_up
def test_samples_without_a_word_to_learn_are_left_out_counted_and_said(make_pool, base, capsys):
    pool = make_pool([*TEXTS[:6], "北京 " * 100, "bread " * 6])
    pool[np.arange(8)].train(declared(base, epochs=1, batch=3))
    entry = pool.session.log[-1]
    assert (entry["samples"], entry["computed"], entry["left_out"]) == (8, 7, {"nothing_to_supervise": 1})
    assert entry["truncated"] == 1
    assert "7 samples, 1 of them cut at 64 tokens, 1 left out (nothing_to_supervise 1)" in capsys.readouterr().out


@ray_is_up
@pytest.mark.fault(
    "a value is NaN or infinite",
    how="a model whose loss is NaN for one sample",
    holds="the training ends and names the sample",
)
def test_a_loss_that_is_no_number_ends_the_run_with_the_sample(make_pool, base, tmp_path):
    token = tokenizer(base)("☃", add_special_tokens=False)["input_ids"][0]
    broken = spoilt(base, tmp_path / "broken", token)
    with pytest.raises(WinnowError, match=r"not finite for samples \[5\]\. Whole epochs are kept in"):
        make_pool([*TEXTS[:5], "a ☃", *TEXTS[5:8]])[np.arange(9)].train(declared(broken))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"max_tokens": 257}, "max_tokens=257, but .* has 256 positions"),
        (
            {"epochs": 1, "batch": 8, "warmup": 0.5},
            "8 samples in batches of 8, steps per epoch: 1, epochs: 1; the warm-up",
        ),
    ],
)
def test_what_cannot_be_trained_is_told_before_a_worker_is_started(make_pool, base, fields, told):
    with pytest.raises(UsageError, match=told):
        make_pool(TEXTS[:8])[np.arange(8)].train(declared(base, **fields))


def test_what_no_worker_has_to_see_is_refused_at_once(session, base):
    pool = Pool(
        Samples("somewhere", {"fingerprint": "a", "text_fingerprint": "a", "samples": 4}), session, np.arange(4)
    )
    with pytest.raises(UsageError, match="no sample"):
        pool[np.arange(0)].train(declared(base))
    with pytest.raises(ModelMissing):
        pool[np.arange(4)].train(declared("/nowhere/at/all"))


@ray_is_up
def test_a_classifier_tells_the_labels_of_the_whole_pool_and_goes_on_from_an_epoch(make_pool, base):
    pool, trainer = make_pool(TEXTS), declared(base, lora=None, epochs=1, warmup=0.0, labels=Labels("task"))
    first = pool[np.arange(8)].train(trainer, afterwards="go on")[-1]  # of which all have the first two tasks
    config = json.loads((Path(first.name) / "config.json").read_text())
    assert sorted(config["id2label"].values()) == sorted({text.split()[0] for text in TEXTS})
    ids, right = epoch_outcomes(first)
    assert (ids.tolist(), right.dtype) == (list(range(8)), bool)
    second = pool[np.arange(8, 24)].train(replace(trainer, after=first))[-1]
    facts = json.loads((Path(second.name) / "training.json").read_text())
    assert (facts["step"], facts["adam_steps"]) == (2, 3)
    with pytest.raises(UsageError, match=r"that have 'colour' have 0 classes"):
        pool[np.arange(8)].train(replace(trainer, labels=Labels("colour")))
    with pytest.raises(UsageError, match=r"that have 'task' and 'slots' have 0 classes"):
        pool[np.arange(8)].train(replace(trainer, labels=Labels("task", "slots")))


@ray_is_up
def test_a_store_that_does_not_answer_for_a_moment_ends_no_training(base, s3, monkeypatch):
    @ray.remote(num_cpus=0)
    def trained():
        time.sleep(1.0)

    place = Folder.at(s3.bucket())
    place.write(LOSSES, b"")
    monkeypatch.setattr(training, "REPORT_SECONDS", 0.1)
    with s3.failing(lambda method, path: "ExpiredToken"):
        training._wait(trained.remote(), place, declared(base))


def test_moments_of_all_weights_are_kept_only_for_a_run_that_goes_on(make_pool, base, monkeypatch, capsys):
    def run(samples, session, trainer, ids, folder):
        train_worker.carry_out(train_worker.Training(trainer, samples.parts, ids, folder.url, 0.0, "cpu", 1, 4096))
        if trainer.lora is None:  # a run that was cut off before it removed them leaves them
            folder.inner("epoch-1").write("adam.safetensors", b"left")
        return training._summary(folder, trainer)

    monkeypatch.setattr(training, "_run", run)
    pool, trainer = make_pool(TEXTS[:8]), declared(base, lora=None, epochs=2)
    first, last = (Path(each.name) / "adam.safetensors" for each in pool.train(trainer))
    assert (first.exists(), last.exists()) == (False, False)
    pool.train(trainer, afterwards="go on")
    assert (first.exists(), last.exists()) == (False, True)
    assert "Adam's moments were not kept" in capsys.readouterr().out
    pool.train(trainer)
    pool.train(trainer, afterwards="go on")
    assert last.exists()
    assert [entry["computed"] for entry in pool.session.log] == [8, 8, 0, 0]
    assert (Path(pool.train(declared(base))[-1].name) / "adam.safetensors").exists()


def test_progress_is_that_of_the_last_step_whose_line_is_whole(base, tmp_path):
    folder, trainer = Folder(str(tmp_path)), declared(base)
    whole = '{"step": 1, "epoch": 1, "loss": 2.5, "learning_rate": 0.1, "tokens": 9}\n'
    (tmp_path / LOSSES).write_text('{"step": 1, "ep')
    assert training._progress(folder, trainer).endswith("loading the model")
    (tmp_path / LOSSES).write_text(whole + '{"step": 2, "ep')
    assert training._progress(folder, trainer).endswith("step 1, in epoch 1 of 2: loss 2.5000")
