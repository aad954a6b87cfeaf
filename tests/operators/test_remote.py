"""Models at URLs, on an S3 server of this machine, read through the cache."""

import os
from pathlib import Path

import fsspec
import pytest

from jobs.engine.terminal.program import exit_code
from operators import remote
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
from operators.model_files import content
from operators.training.files import FACTS, epoch_facts
from tests.full_disk import files_up_to
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Path(tiny_causal(tmp_path_factory.mktemp("base")))


@pytest.fixture
def url(s3, base, tmp_path, monkeypatch):
    """A model at a URL, and an empty cache."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    where = f"{s3.bucket()}/m"
    remote.put(base, where)
    return where


def test_a_model_at_a_url_is_the_local_model_and_is_read_only_when_its_weights_are_asked_for(url, base, tmp_path):
    model = Checkpoint(url)
    model.check()
    assert model.elsewhere()
    assert model.identity() == Checkpoint(str(base)).identity()
    assert not (tmp_path / "cache").exists()
    assert model.config() == Checkpoint(str(base)).config()
    assert not (tmp_path / "cache/models").exists()
    folder = model.folder()
    assert folder.is_relative_to(tmp_path / "cache")
    assert {path.name for path in folder.iterdir()} == {path.name for path in base.iterdir()}
    assert content(folder) == content(base)
    stamp = folder.stat().st_mtime_ns
    assert model.folder() == folder
    assert folder.stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="which has no revision"):
        Checkpoint(url, "main").folder()


def test_a_model_that_another_program_put_there_is_the_same_model(s3, url, base):
    fs, _ = fsspec.core.url_to_fs(url)
    other = f"{s3.bucket()}/other"
    fs.put(str(base), other, recursive=True)
    assert Checkpoint(other).identity() == Checkpoint(url).identity()


def test_what_is_written_there_again_is_read_again_and_what_is_damaged_is_refused(url, base, tmp_path):
    first = Checkpoint(url).folder()
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in base.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    (changed / FACTS).write_text('{"loss": 1.5}')
    remote.put(changed, url)
    assert Checkpoint(url).folder() != first
    assert epoch_facts(Checkpoint(url)) == {"loss": 1.5}
    remote.remove_file(url, FACTS)
    assert Checkpoint(url).folder() == first
    fsspec.filesystem("s3").pipe_file(f"{url}/tokenizer.json", b"{}")
    os.rename(first, tmp_path / "elsewhere")
    with pytest.raises(ModelMissing, match=r"tokenizer\.json is not what \.content\.json beside it says"):
        Checkpoint(url).folder()


def test_what_is_not_there_or_may_not_be_read_is_told_in_one_line(s3, url):
    for name, told in (
        (f"{url}/none", "there is no such folder"),
        ("s3://no-such-bucket-here/m", "bucket does not exist"),
        ("gs://bucket/m", "Please install gcsfs"),
    ):
        with pytest.raises(ModelMissing, match=rf"model {name}: it cannot be read there: .*{told}"):
            Checkpoint(name).check()
    fsspec.filesystem("s3").rm_file(f"{url}/model.safetensors")
    remote.remove_file(url, "model.safetensors")
    with pytest.raises(ModelMissing, match=r"has no \*\.safetensors"):
        Checkpoint(url).check()
    with (
        s3.failing(lambda *_: "AccessDenied"),
        pytest.raises(ModelMissing, match=r"it cannot be read there: .*Forbidden"),
    ):
        Checkpoint(url).check()


@pytest.mark.fault(
    "a disk is full",
    how="RLIMIT_FSIZE while a model is fetched into the cache",
    holds="one line that says what to do",
)
def test_a_full_disk_of_the_cache_is_one_line_that_says_what_to_do(url, tmp_path, capsys):
    with files_up_to(3_000):
        assert exit_code(lambda: len(Checkpoint(url).folder().name)) == 1
    said = capsys.readouterr().out
    assert "File too large in the cache of models. Free some space, or set WINNOW_CACHE to another folder: " in said
    assert (said.count("\n"), f"'{tmp_path}/cache'" in said) == (1, True)
    assert not [path for path in (tmp_path / "cache/models").iterdir() if path.is_dir()]
    assert Checkpoint(url).folder().is_dir()
