"""The files of a model in a folder: which they are, what identifies them, and which of them are refused."""

import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from operators import remote
from operators.missing import ModelMissing

SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja")
"""The files of a model: weights, configuration, tokenizer, pooling, chat template. No pickles, no READMEs."""

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

MODULES = "modules.json"


def content(folder: Path) -> str:
    """Hex SHA-256 over the names and contents of the files of a model; the path of the folder does not enter."""
    digests = {}
    for path in _model_files(folder):
        found = path.stat()
        name = path.relative_to(folder).as_posix()
        digests[name] = _file_digest(path.resolve(), found.st_size, found.st_mtime_ns)
    return _content(digests)


def listed_content(files: remote.Listing) -> str:
    """The `content` of a model whose files are listed with their hashes."""
    return _content({name: bytes.fromhex(digest) for name, (_, digest) in files.items() if _of_model(Path(name))})


def _content(digests: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(digests):
        digest.update(name.encode() + b"\0" + digests[name])
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
    listed = folder / MODULES
    modules = json.loads(listed.read_text()) if listed.is_file() else []
    folders = [folder, *(folder / module["path"] for module in modules if module["path"])]
    found = {path for part in folders if part.is_dir() for path in part.iterdir()}
    files = [path for path in found if path.is_file() and _of_model(path.relative_to(path.parent))]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _of_model(name: Path) -> bool:
    """Whether a file directly in a folder of a model is part of the model."""
    return len(name.parts) == 1 and name.suffix in SUFFIXES and not name.name.startswith(".")


def complete(folder: Path, name: str) -> Path:
    """The folder, unchanged; ModelMissing where it is not a model with safetensors weights."""
    if not folder.is_dir():
        raise ModelMissing(f"model {name}: there is no folder {folder.absolute()}")
    refuse_incomplete([path.name for path in folder.iterdir() if path.is_file()], name, str(folder.absolute()))
    return folder


def refuse_incomplete(files: Collection[str], name: str, place: str) -> None:
    """ModelMissing where these files at a place are not a model with safetensors weights."""
    if not {"config.json", "adapter_config.json"}.intersection(files):
        raise ModelMissing(f"model {name}: {place} has no config.json")
    if not any(Path(file).match("*.safetensors") for file in files):
        pickled = sorted(file for file in files if any(Path(file).match(pattern) for pattern in PICKLED))
        raise ModelMissing(f"model {name}: {place} has no *.safetensors" + refusal(pickled))


def refusal(pickled: list[str]) -> str:
    if not pickled:
        return ""
    return (
        f"; its pickled weights ({pickled[0]}) are refused, because loading a pickle runs any code that is in it. "
        "Convert them once with model.save_pretrained(folder)"
    )
