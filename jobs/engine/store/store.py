"""The store: where features are kept. Its part files are the checkpoint of every map.

    <store>/features/<Operator>-<fingerprint>/spec.json                  what computed it
    <store>/features/<Operator>-<fingerprint>/<pool>/part-*.parquet      id, sha, value, error
    <store>/pools/<key>/                                                 pools that a command ingested
    <store>/lock.json                                                    who writes now

A part is written under a temporary name and renamed; its name is a hash of its ids, so a task that is run
twice overwrites instead of doubling. `sha` is the hash of what the operator's values belong to, the conversation or
the whole record, by which a later pool that shares samples with this one takes their values over.
"""

import json
from dataclasses import dataclass

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.store.feature import Feature
from jobs.engine.store.writing import write_atomically
from jobs.engine.terminal.errors import WinnowError
from operators.base import Operator, canonical_json, described


def absolute(url: str) -> str:
    """The same place, as workers with another working directory find it: local paths absolute, URLs as they are."""
    fs, path = fsspec.core.url_to_fs(url)
    return path if isinstance(fs, LocalFileSystem) else url


@dataclass(frozen=True)
class Store:
    """A folder, local or any that fsspec reaches, in which features and pools are kept."""

    url: str

    def feature(self, operator: Operator, pool_fingerprint: str) -> Feature:
        """The operator's values for the pool, computed or yet to be."""
        return Feature(f"{self.operator_folder(operator)}/{pool_fingerprint[:16]}")

    def operator_folder(self, operator: Operator) -> str:
        """The folder of all the values of an operator."""
        return f"{self.url}/features/{type(operator).__name__}-{operator.fingerprint()[:16]}"

    def known(self, operator: Operator) -> list[Feature]:
        """The operator's values for all pools of this store."""
        fs, root = fsspec.core.url_to_fs(self.operator_folder(operator))
        if not fs.exists(root):
            return []
        return [Feature(fs.unstrip_protocol(path)) for path in sorted(fs.ls(root, detail=False)) if fs.isdir(path)]

    def declare(self, operator: Operator) -> None:
        """Writes spec.json, which says what computes the values; refuses a folder that says another thing."""
        fs, root = fsspec.core.url_to_fs(self.operator_folder(operator))
        spec = {"operator": type(operator).__name__, "version": operator.version, "fields": described(operator)}
        path = f"{root}/spec.json"
        if not fs.exists(path):
            fs.makedirs(root, exist_ok=True)
            write_atomically(fs, path, json.dumps(spec, indent=1, ensure_ascii=False).encode())
        elif canonical_json(json.loads(fs.cat_file(path))) != canonical_json(spec):
            raise WinnowError(f"{path} describes another operator than {operator!r}; move that folder away")

    def pace(self, operator: Operator) -> float | None:
        """Samples a second that the operator's last map of this store reached; None before one has ended."""
        fs, root = fsspec.core.url_to_fs(self.operator_folder(operator))
        path = f"{root}/pace.json"
        return json.loads(fs.cat_file(path))["samples_a_second"] if fs.exists(path) else None

    def note_pace(self, operator: Operator, samples: int, seconds: float) -> None:
        """Keeps how fast a map went, for the estimates of later plans."""
        fs, root = fsspec.core.url_to_fs(self.operator_folder(operator))
        write_atomically(fs, f"{root}/pace.json", json.dumps({"samples_a_second": samples / seconds}).encode())
