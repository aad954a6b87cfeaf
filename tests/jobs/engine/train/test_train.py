"""Training on a pool's samples, the commands around it, and a scorer that learns what its pairs say."""

import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from safetensors.torch import load_file

from jobs import evaluate, finetune, train_scorer
from jobs.engine.execute.profile import Profile
from jobs.engine.outcome.evaluation import Evaluation, losses
from jobs.engine.pool.pool import Pool
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import OverErrorBudget, UsageError, WinnowError
from jobs.engine.train.checkpoints import training_folder
from jobs.engine.train.worker import Tokenized, Training, carry_out
from jobs.methods.scorer_training import (
    COMPLEXITY,
    QUALITY,
    default_template,
    records,
    refuse_other_tokens,
    scorer_training,
)
from operators import sample
from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.scoring.scorer import Scorer
from operators.supervision.labels import Labels
from operators.supervision.supervised import IGNORED, Supervised, Supervision
from operators.training.files import epoch_outcomes
from operators.training.finetune import Finetune, LoRA
from operators.training.loop import train
from operators.training.model import trained_model
from tests.jobs.corpora import jsonl
from tests.jobs.corpora import records as corpus
from tests.runs import losses_one_by_one, spoilt
from tests.tiny import CHAT, tiny_causal

ray_is_up = pytest.mark.usefixtures("ray_session")

WORDS = ("bread", "goats", "北京", "Écris", "лето", "شمس")
TEXTS = [f"{first} {second} {at}" for at, (first, second) in enumerate((a, b) for a in WORDS for b in WORDS)][:24]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


def declared(base, **fields) -> Finetune:
    chosen = {"lora": LoRA(rank=2, alpha=8), "epochs": 2, "batch": 8, "max_tokens": 64, "learning_rate": 1e-2}
    return Finetune(Checkpoint(str(base)), **(chosen | {"precision": "float32"} | fields))


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "losses.jsonl").read_text().splitlines()]


@ray_is_up
def test_a_pool_is_trained_on_once_and_as_the_loop_would(make_pool, base, tmp_path):
    pool, trainer = make_pool(TEXTS), declared(base)
    ids = np.array([3, 17, 5, 11, 2, 9, 21, 0, 14, 7])
    checkpoints = pool[ids].train(trainer)
    folder = Path(checkpoints[0].name).parent
    assert folder.parent == Path(pool.session.store.url) / "trained"
    assert [each.name for each in checkpoints] == [str(folder / "epoch-1"), str(folder / "epoch-2")]
    supervision = Supervision(_tokenizer(base), "tulu", 64)
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
    pool = Pool("somewhere", {"fingerprint": "a", "text_fingerprint": "a", "samples": 4}, session)
    other = Pool("somewhere", {"fingerprint": "b", "text_fingerprint": "b", "samples": 4}, session)
    ids = np.arange(3)
    folders = {
        training_folder(pool, session.store, declared(base), ids),
        training_folder(other, session.store, declared(base), ids),
        training_folder(pool, session.store, declared(base, seed=1), ids),
        training_folder(pool, session.store, declared(base), ids + 1),
    }
    assert len(folders) == 4
    assert training_folder(pool, session.store, declared(str(base) + "/"), ids) in folders


@ray_is_up
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
def test_a_loss_that_is_no_number_ends_the_run_with_the_sample(make_pool, base, tmp_path):
    token = _tokenizer(base)("☃", add_special_tokens=False)["input_ids"][0]
    broken = spoilt(base, tmp_path / "broken", token)
    with pytest.raises(WinnowError, match=r"not finite for samples \[5\]\. Whole epochs are kept in"):
        make_pool([*TEXTS[:5], "a ☃", *TEXTS[5:8]])[np.arange(9)].train(declared(broken))


def asked_of(pool, trainer, folder) -> Training:
    return Training(trainer, pool.parts, np.arange(pool.samples), str(folder), 0.0, "cpu", 1, 4096)


def test_a_full_disk_is_told_and_leaves_no_half_epoch(make_pool, base, tmp_path):
    asked = asked_of(make_pool(TEXTS[:8]), declared(base), tmp_path / "run")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, hard))
    try:
        with pytest.raises(WinnowError, match=r"(?s)(epoch-1|too large).*the same command goes on"):
            carry_out(asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["losses.jsonl"]
    carry_out(asked)
    assert json.loads((tmp_path / "run/outcome.json").read_text())["outcome"]["samples"] == 8


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"lora": LoRA(modules=("c_attn",))}, r"no linear layer named c_attn; .*k_proj, lm_head, o_proj"),
        ({"max_tokens": 4096}, "has 256 positions"),
        ({"epochs": 1, "batch": 8, "warmup": 0.5}, "warm-up takes all of the run's 1 steps"),
        ({"max_tokens": 4}, "none of 8 samples can be trained on; the first is sample 0: nothing_to_supervise"),
    ],
)
def test_what_cannot_be_trained_is_told(make_pool, base, tmp_path, fields, told):
    with pytest.raises(WinnowError, match=told):
        carry_out(asked_of(make_pool(TEXTS[:8]), declared(base, **fields), tmp_path / "run"))


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


def test_the_batch_and_the_tokens_that_nobody_asked_for_are_recorded(make_pool, base, tmp_path):
    trainer = declared(base, batch=None, max_tokens=None, epochs=1)
    carry_out(asked_of(make_pool([*TEXTS[:20], "bread " * 500]), trainer, tmp_path / "run"))
    outcome = json.loads((tmp_path / "run/outcome.json").read_text())["outcome"]
    assert (outcome["samples"], outcome["left_out"]) == (20, {"nothing_to_supervise": 1})
    assert (outcome["batch"], outcome["max_tokens"]) == (8, 256)
    assert json.loads((tmp_path / "run/epoch-1/training.json").read_text())["batch"] == 8
    assert len(lines(tmp_path / "run")) == 3


def test_a_tokenizer_without_an_end_or_a_template_is_told(make_pool, base, tmp_path):
    shutil.copytree(base, tmp_path / "bare")
    settings = tmp_path / "bare/tokenizer_config.json"
    content = {key: value for key, value in json.loads(settings.read_text()).items() if key != "eos_token"}
    settings.write_text(json.dumps(content))
    (tmp_path / "bare/chat_template.jinja").unlink()
    for template, told in (("tulu", "no end-of-sequence token"), ("chat", "no chat template")):
        with pytest.raises(WinnowError, match=told):
            carry_out(asked_of(make_pool(TEXTS[:8]), declared(tmp_path / "bare", template=template), tmp_path / "run"))


def test_samples_that_the_template_refuses_count_against_the_errors_allowed(make_pool, base, tmp_path):
    shutil.copytree(base, tmp_path / "strict")
    refusing = "{% if '北京北京' in messages[0]['content'] %}{{ raise_exception('no') }}{% endif %}" + CHAT
    (tmp_path / "strict/chat_template.jinja").write_text(refusing)
    asked = asked_of(
        make_pool(["北京北京", *TEXTS[:5]]), declared(tmp_path / "strict", template="chat"), tmp_path / "run"
    )
    with pytest.raises(OverErrorBudget, match=r"1 of 6 samples .* the first is sample 0: chat_template"):
        carry_out(asked)
    carry_out(replace(asked, allowed=1.0))
    outcome = json.loads((tmp_path / "run/outcome.json").read_text())["outcome"]
    assert (outcome["samples"], outcome["left_out"]) == (5, {"chat_template": 1})


def test_what_no_worker_has_to_see_is_refused_at_once(session, base):
    pool = Pool("somewhere", {"fingerprint": "a", "text_fingerprint": "a", "samples": 4}, session)
    distant = replace(pool, session=replace(session, store=Store("memory://bucket/store")))
    with pytest.raises(UsageError, match=r"store memory://bucket/store: .* --store"):
        distant[np.arange(4)].train(declared(base))
    with pytest.raises(UsageError, match="no sample"):
        pool[np.arange(0)].train(declared(base))
    with pytest.raises(ModelMissing):
        pool[np.arange(4)].train(declared("/nowhere/at/all"))


@ray_is_up
def test_a_classifier_tells_the_labels_of_the_whole_pool_and_goes_on_from_an_epoch(make_pool, base):
    pool, trainer = make_pool(TEXTS), declared(base, lora=None, epochs=1, warmup=0.0, labels=Labels("task"))
    first = pool[np.arange(8)].train(trainer)[-1]  # of which all have the first two tasks
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


def test_packed_samples_are_what_was_packed():
    rows = [Supervised(at + 7, (1, 5, 9 + at), (IGNORED, 5, IGNORED)) for at in range(3)]

    def supervision(position, messages):
        if position == 1:
            raise RowError("odd", "so it is")
        return rows[position]

    packed = Tokenized.of([(at, []) for at in range(3)], supervision)
    assert list(packed) == [rows[0], rows[2]]
    assert (len(packed), packed.left_out, packed.example) == (2, {"odd": 1}, "the first is sample 1: odd: so it is")


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

    supervision = Supervision(_tokenizer(base), "alpaca", 200)
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


def rated(salt: str, count: int) -> list[dict]:
    """Instructions that speak of goats, with the score 6, and of bread, with 1."""
    made = []
    for at in range(count):
        subject, score = (("goats", 6), ("bread", 1))[at % 2]
        made.append({"instruction": f"{WORDS[2 + at % 4]} {subject} {salt}{at}", "score": score})
    return made


@ray_is_up
@pytest.mark.parametrize("form", ["evolved", "released"])
def test_a_scorer_learns_what_the_pairs_say(run, base, tmp_path, form):
    rows = [*rated("x", 48), {"instruction": "goats " * 300, "score": 6}]
    fields = [f"finetune.base.name={base}", "finetune.max_tokens=250", "finetune.precision=float32",
              "finetune.batch=8", "finetune.epochs=5", "finetune.warmup=0"]  # fmt: skip
    template = COMPLEXITY
    if form == "released":
        template = "Frage: {instruction} \n{{}} Punkte : "
        rows = [
            {"conversations": [{"from": "human", "value": template.format(instruction=row["instruction"])},
                               {"from": "gpt", "value": str(row["score"])}]}
            for row in rows
        ]  # fmt: skip
        settings = {"template": template, "labels": ["1", "2", "6"]}
        (tmp_path / "given.json").write_text(json.dumps(settings))
        fields += ["--settings", "given.json", "finetune.lora.rank=8", "finetune.lora.alpha=16",
                   "finetune.learning_rate=0.01"]  # fmt: skip
    else:
        fields.append("finetune.learning_rate=0.003")
    jsonl(tmp_path / "pairs.jsonl", [*rows, rows[0]])
    code, said = run("pairs.jsonl", "--out", "scorer", "--store", "store", *fields, command=train_scorer)
    assert code == 0, said
    assert "50 read, 1 of them equal" in said
    assert "1 left out (nothing_to_supervise 1)" in said
    assert {line["tokens"] for line in lines(tmp_path / "scorer")} == {8}  # the score's token of each pair
    written = json.loads((tmp_path / "scorer/scorer.json").read_text())
    assert written["template"] == template
    others = [pair["instruction"] for pair in rated("held out ", 12)]
    batch = pa.table({"messages": pa.array([_asked(text) for text in others], sample.MESSAGES)})
    values = Scorer(model=Checkpoint(str(tmp_path / "scorer"))).load()(batch)
    scores = np.array([value["scores"][0] for value in values])
    assert scores[::2].min() > scores[1::2].max()
    assert scores[::2].mean() - scores[1::2].mean() > 1


def _asked(text: str) -> list[dict]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"instruction": "x", "score": 7}, "the score 7 is not one of 1, 2, 3, 4, 5, 6"),
        ({"instruction": "x", "score": "4"}, "the score '4' is not a whole number"),
        ({"instruction": "x", "score": True}, "not a whole number"),
        ({"instruction": None, "score": 4}, "the template has a field instruction"),
        ({"conversations": [{"from": "human", "value": "other"}, {"value": "4"}]}, "not the filled template"),
        ({"conversations": [{"from": "human", "value": "other"}]}, "not a list of two messages"),
        ([1], "not a JSON object"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, row, told):
    good = {"instruction": "{x}", "score": 2}
    path = Path(jsonl(tmp_path / "pairs.jsonl", [good, row]))
    with pytest.raises(UsageError, match=rf"pairs\.jsonl:2\D.*{told}"):
        list(records(path, COMPLEXITY, tuple("123456")))


def test_pairs_say_which_template_is_theirs(tmp_path):
    def template(row) -> str:
        return default_template(Path(jsonl(tmp_path / "pairs.jsonl", [row])))

    assert template({"instruction": "x", "score": 1}) == COMPLEXITY
    assert template({"instruction": "x", "response": "y", "score": 1}) == QUALITY
    with pytest.raises(UsageError, match="--settings"):
        template({"conversations": []})
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(UsageError, match="no pair"):
        default_template(tmp_path / "pairs.jsonl")


def test_a_tokenizer_that_joins_digits_is_refused_with_advice(tmp_path):
    joined = tiny_causal(tmp_path / "joined", digits="joined")
    wanted = scorer_training(None, [f"finetune.base.name={joined}"])
    with pytest.raises(UsageError, match=r"a template without the blank at its end fits, with the labels"):
        refuse_other_tokens(wanted, COMPLEXITY)
    spaced = replace(wanted, labels=tuple(f" {number}" for number in range(1, 7)))
    refuse_other_tokens(spaced, COMPLEXITY.rstrip(" "))
    with pytest.raises(UsageError, match=r"finetune\.template has to be plain"):
        scorer_training(None, ["finetune.template=tulu"])


def _tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
