"""The store, in which features are kept. Its part files are the checkpoint of every map.

    <store>/features/<Operator>-<fingerprint>/spec.json                  what computed it
    <store>/features/<Operator>-<fingerprint>/<pool>/part-*.parquet      id, sha, value, error
    <store>/features/<Operator>-<fingerprint>/<pool>/states.parquet      which samples have a value, and which an error
    <store>/pools/<key>/                                                 pools that a command ingested
    <store>/lock.json                                                    who writes now

A part is written under a temporary name and renamed. Its name is a hash of its ids, so a task that runs twice writes
the same part again and adds none. When a map ends, the parts of its batches are merged (merging.py). `sha` is the hash
of what the operator's values belong to: the conversation or the whole record. By it a later pool takes over the values
of the samples that it shares with this one.
"""

import json
from dataclasses import dataclass

from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder, opened
from jobs.engine.terminal.errors import WinnowError
from operators.base import Operator, canonical_json, described

SPEC, PACE = "spec.json", "pace.json"


def pace_in(operator_folder: str) -> float | None:
    """Returns the samples per second of the last map of an operator, from its folder; None if no map has ended."""
    folder = Folder(operator_folder)
    return json.loads(folder.content(PACE))["samples_a_second"] if folder.exists(PACE) else None


def absolute(url: str) -> str:
    """Returns a path as workers with another working directory find it: absolute. URLs stay as they are."""
    return Folder.at(url).url


@dataclass(frozen=True)
class Store:
    """A folder in which features and pools are kept, on the local disk or any file system of fsspec."""

    url: str

    @property
    def folder(self) -> Folder:
        """The folder of the store itself."""
        return Folder(self.url)

    def feature(self, operator: Operator, pool_fingerprint: str) -> Feature:
        """Returns the feature with the operator's values for the pool, computed or not."""
        return Feature(f"{self.operator_folder(operator)}/{pool_fingerprint[:16]}")

    def operator_folder(self, operator: Operator, version: int | None = None) -> str:
        """Returns the folder with the values of an operator for all pools; version: an earlier one of the operator."""
        return f"{self.url}/features/{type(operator).__name__}-{operator.fingerprint(version)[:16]}"

    def known(self, operator: Operator) -> list[Feature]:
        """Returns the operator's features for all pools of this store."""
        return self._features(self.operator_folder(operator))

    def known_earlier(self, operator: Operator) -> list[Feature]:
        """Returns the features that the operator's earlier versions computed, some values of which are still valid."""
        folders = [self.operator_folder(operator, version) for version in sorted(operator.earlier, reverse=True)]
        return [feature for folder in folders for feature in self._features(folder)]

    def _features(self, folder: str) -> list[Feature]:
        fs, root = opened(folder)
        if not fs.exists(root):
            return []
        return [Feature(fs.unstrip_protocol(path)) for path in sorted(fs.ls(root, detail=False)) if fs.isdir(path)]

    def declare(self, operator: Operator) -> None:
        """Writes spec.json, which describes the operator. WinnowError if the folder describes another operator."""
        folder = Folder(self.operator_folder(operator))
        spec = {"operator": type(operator).__name__, "version": operator.version, "fields": described(operator)}
        if not folder.exists(SPEC):
            folder.make()
            folder.write(SPEC, json.dumps(spec, indent=1, ensure_ascii=False).encode())
        elif canonical_json(json.loads(folder.content(SPEC))) != canonical_json(spec):
            raise WinnowError(f"{folder.file(SPEC)} describes another operator than {operator!r}; move it away")

    def pace(self, operator: Operator) -> float | None:
        """Returns the samples per second of the operator's last map in this store; None if no map has ended."""
        return pace_in(self.operator_folder(operator))

    def note_pace(self, operator: Operator, samples: int, seconds: float) -> None:
        """Stores the pace of a map, for the estimates of later plans."""
        Folder(self.operator_folder(operator)).write(PACE, json.dumps({"samples_a_second": samples / seconds}).encode())
