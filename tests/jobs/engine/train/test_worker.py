"""The worker of a training run, without Ray: what it refuses, records and packs."""

import json
import pickle
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import AlbertConfig, CTRLConfig

from jobs.engine.terminal.errors import OverErrorBudget, WinnowError
from jobs.engine.train.tokenized import Tokenized, tokenized
from jobs.engine.train.train_worker import Training, carry_out, process_group
from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.supervision.labels import Labels
from operators.supervision.supervised import IGNORED, Supervised
from operators.training.finetune import LoRA
from operators.training.ranks import Copies
from tests.full_disk import files_up_to
from tests.jobs.pool_runs import TEXTS, declared
from tests.runs import lines
from tests.tiny import CHAT, tiny_causal


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


def asked_of(pool, trainer, folder) -> Training:
    return Training(trainer, pool.parts, np.arange(pool.samples), str(folder), 0.0, "cpu", 1, 4096)


@pytest.mark.fault(
    "a disk is full",
    how="RLIMIT_FSIZE while an epoch is written",
    holds="one line; no half epoch; the same command goes on",
)
def test_a_full_disk_is_told_and_leaves_no_half_epoch(make_pool, base, tmp_path):
    asked = asked_of(make_pool(TEXTS[:8]), declared(base), tmp_path / "run")
    with files_up_to(3_000), pytest.raises(WinnowError, match=r"(?s)(epoch-1|too large).*the same command goes on"):
        carry_out(asked)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["losses.jsonl"]
    carry_out(asked)
    assert json.loads((tmp_path / "run/outcome.json").read_text())["outcome"]["samples"] == 8


def kept(run) -> list[bool]:
    return [(run / f"epoch-{epoch}/adam.safetensors").exists() for epoch in (1, 2, 3)]


def test_only_the_last_epoch_of_all_weights_keeps_moments_and_a_run_goes_on_without_the_others(
    make_pool, base, tmp_path
):
    whole = asked_of(make_pool(TEXTS[:8]), declared(base, lora=None, epochs=3), tmp_path / "whole")
    carry_out(whole)
    assert kept(tmp_path / "whole") == [False, False, True]
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again/epoch-3")
    carry_out(replace(whole, folder=str(tmp_path / "again")))
    assert kept(tmp_path / "again") == [False, False, True]
    weights = [load_file(tmp_path / name / "epoch-3/model.safetensors") for name in ("whole", "again")]
    assert all(np.array_equal(weight, weights[1][name]) for name, weight in weights[0].items())
    after = replace(whole.trainer, after=Checkpoint(str(tmp_path / "whole/epoch-1")))
    with pytest.raises(WinnowError, match=r"no run can go on after .*epoch-1, which has no adam.safetensors"):
        carry_out(replace(whole, trainer=after, folder=str(tmp_path / "after")))


def test_every_epoch_of_an_adapter_keeps_moments(make_pool, base, tmp_path):
    carry_out(asked_of(make_pool(TEXTS[:8]), declared(base, epochs=3), tmp_path / "run"))
    assert kept(tmp_path / "run") == [True, True, True]


def test_ranks_wait_while_one_of_them_writes_a_large_checkpoint():
    slow_disk = 20e6  # bytes per second
    for gpus, backend in ((0, "gloo"), (1, "nccl")):
        group = process_group(gpus)
        assert (group.backend, group.timeout_s > 84e9 / slow_disk) == (backend, True)


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
    ("fields", "changed", "told"),
    [
        ({"lora": LoRA(modules=("c_attn",))}, {}, "no linear layer named c_attn"),
        ({}, {"layout": "shards"}, "has no list of its 12 layers, which shards need: set train_layout to copies"),
        ({}, {"activations": "recomputed"}, "cannot compute activations again: set train_activations to kept"),
    ],
)
def test_what_the_base_s_layers_do_not_allow_is_told_before_a_sample_is_tokenized(
    make_pool, base, tmp_path, fields, changed, told
):
    folder = base
    if changed:
        folder = tmp_path / "base"
        shutil.copytree(base, folder)
        kind = AlbertConfig if "layout" in changed else CTRLConfig  # one that shares a layer; one of 2019
        kind(vocab_size=600, pad_token_id=0, eos_token_id=2).save_pretrained(folder)
    labels = Labels(classes=("a", "b")) if changed else None
    trainer = declared(folder, max_tokens=4, labels=labels, **{"lora": None, **fields})  # no sample fits into 4 tokens
    with pytest.raises(WinnowError, match=told):
        carry_out(replace(asked_of(make_pool(TEXTS[:8]), trainer, tmp_path / "run"), **changed))


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
    carry_out(replace(asked, allowed=1))
    outcome = json.loads((tmp_path / "run/outcome.json").read_text())["outcome"]
    assert (outcome["samples"], outcome["left_out"]) == (5, {"chat_template": 1})


def test_packed_samples_are_what_was_packed():
    rows = [Supervised(at + 7, (1, 5, 9 + at), (IGNORED, 5, IGNORED)) for at in range(3)]

    def supervision(position, messages):
        if position == 1:
            raise RowError("odd", "so it is")
        return rows[position]

    packed = Tokenized.of([(at, []) for at in range(3)], supervision)
    assert list(packed) == [rows[0], rows[2]]
    assert (len(packed), packed.left_out, packed.example) == (2, {"odd": 1}, "the first is sample 1: odd: so it is")


@dataclass(frozen=True)
class Rank(Copies):
    """A rank whose exchange with the others is written down beforehand."""

    others: tuple = ()

    def exchanged(self, own):
        return [own if each is None else each for each in self.others]


def test_each_rank_tokenizes_its_share_and_has_the_samples_of_one_process(make_pool):
    pool, asked = make_pool([f"{'x' * at} 北京" for at in range(10)]), []

    def supervision(position, messages):
        asked.append(position)
        if position in (1, 8):
            raise RowError("odd", "so it is")
        text = [ord(each) for each in messages[0]["content"]]
        return Supervised(position, tuple(text), tuple(text), position % 4 == 0)

    def of(together, ids):
        asked.clear()
        return tokenized(pool.parts, ids, ("messages",), supervision, together), list(asked)

    for ids in (np.arange(10), np.array([1, 8])):  # of three ranks, one may have no sample
        whole, seen = of(Copies(0, 1), ids)
        assert seen == ids.tolist()
        shares = [of(Rank(rank, 3, others=(None,)), ids) for rank in range(3)]
        assert [share for _, share in shares] == [each.tolist() for each in np.array_split(ids, 3)]
        joined, _ = of(Rank(1, 3, others=(shares[0][0], None, shares[2][0])), ids)
        assert list(joined) == list(whole)
        for fact in ("left_out", "example", "truncated"):
            assert getattr(joined, fact) == getattr(whole, fact)
        assert list(pickle.loads(pickle.dumps(joined))) == list(whole)
