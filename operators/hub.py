"""Models of the Hugging Face hub: what the cache of this machine has of them, and what the hub says and gives."""

import functools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from operators.missing import ModelMissing
from operators.model_files import PICKLED, SUFFIXES, complete, refusal

HUB_SECONDS = 40.0
"""The maximum time for the hub to say whether it has a model, including the look-up of its host name."""

OTHER_FORMATS = ["onnx/*", "openvino/*", "coreml/*", "original/*"]


def cached(name: str, revision: str | None) -> Path | None:
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
def commit_of(name: str, revision: str | None) -> str:
    """The hub's commit for a revision, requested once per process; ModelMissing where there is none."""
    from huggingface_hub import HfApi

    try:
        info = _within(HUB_SECONDS, lambda: HfApi().model_info(name, revision=revision, timeout=10))
    except Exception as error:  # the hub client raises its own, httpx's and the operating system's errors
        raise _missing(name, revision, f"the hub: {said(error)}") from error
    files = [file.rfilename for file in info.siblings or []]
    if not any(file.endswith(".safetensors") and "/" not in file for file in files):
        pickled = [file for file in files if file.endswith(tuple(pattern[1:] for pattern in PICKLED))]
        raise _missing(name, revision, "the hub has it without *.safetensors" + refusal(pickled))
    return str(info.sha)


def downloaded_file(name: str, revision: str | None, file: str) -> Path:
    """One file of a hub model, downloaded; ModelMissing where that fails."""
    from huggingface_hub import hf_hub_download

    commit = commit_of(name, revision)
    try:
        return Path(hf_hub_download(name, file, revision=commit, etag_timeout=10))
    except Exception as error:  # the hub client raises its own, httpx's and the operating system's errors
        raise _missing(name, revision, f"the download of {file} failed: {said(error)}") from error


def downloaded(name: str, revision: str | None) -> Path:
    """The snapshot of a hub model, downloaded; ModelMissing where that fails, or where it is no model."""
    from huggingface_hub import snapshot_download

    commit, patterns = commit_of(name, revision), [f"*{suffix}" for suffix in SUFFIXES]
    try:
        found = snapshot_download(
            name, revision=commit, allow_patterns=patterns, ignore_patterns=OTHER_FORMATS, etag_timeout=10
        )
    except Exception as error:  # the hub client raises its own, httpx's and the operating system's errors
        raise _missing(name, revision, f"the download failed: {said(error)}") from error
    return complete(Path(found), name)


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


def said(error: Exception) -> str:
    """The class of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _missing(name: str, revision: str | None, why: str) -> ModelMissing:
    from huggingface_hub.constants import HF_HUB_CACHE

    wanted = name if revision is None else f"{name} at revision {revision}"
    return ModelMissing(
        f"model {wanted} is not available. Tried: the folder {name}, the cache {HF_HUB_CACHE}, {why}. "
        "Give the path of a folder that holds it in place of its name"
    )
