"""Datasets of the Hugging Face hub, by their names: the parquet files of one split.

    owner/name                              the split `train` of the only configuration
    hf://datasets/owner/name                the same
    hf://datasets/owner/name:config/split   another configuration and split

Every public dataset has parquet files on the hub, whatever its own files are. A path to a file of a dataset, such as
hf://datasets/owner/name/data/a.jsonl, and one with a revision, name files and are no concern of this module.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from jobs.engine.ingest.faults import InputError
from jobs.engine.ingest.files.forms import suffix_of
from jobs.engine.terminal.errors import UsageError

SCHEME = "hf://datasets/"
NAME = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?::(?P<config>[\w.+-]+))?(?:/(?P<split>[\w.-]+))?")
TRAIN = "train"
SECONDS = 30.0
HUB = "https://huggingface.co"
OFFLINE = "HF_HUB_OFFLINE is set"


class Dataset(NamedTuple):
    """A dataset of the hub, and which part of it."""

    name: str
    config: str | None
    split: str


def dataset_of(given: str) -> Dataset | None:
    """Returns the dataset that an input names; None for an input that names anything else.

    A name without hf:// is that of a dataset only where there is no such path.
    """
    hub = given.startswith(SCHEME)
    found = NAME.fullmatch(given.removeprefix(SCHEME))
    if found is None or suffix_of(given) or (not hub and (os.path.lexists(given) or found["split"])):
        return None
    return Dataset(f"{found['owner']}/{found['name']}", found["config"], found["split"] or TRAIN)


def refuse_offline(given: str) -> None:
    """InputError for an input on the hub where the hub is not to be asked."""
    if given.startswith("hf://") and _offline():
        raise InputError(_unreachable(given, OFFLINE))


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


@contextmanager
def asking_the_hub(given: str) -> Iterator[None]:
    """Raises InputError where the hub, on which an input lies, is not to be asked or does not answer."""
    refuse_offline(given)
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        # The errors of the hub's client are of its own HTTP library, of whatever version.
        if not given.startswith("hf://"):
            raise
        raise InputError(_unreachable(given, str(error) or type(error).__name__)) from error


def parquet_files(given: str, dataset: Dataset) -> Sequence[str]:
    """Returns the URLs of the parquet files of a dataset. InputError says what there is where there are none."""
    configs = _listed(given, dataset)
    config = dataset.config or (next(iter(configs)) if len(configs) == 1 else "default")
    if config not in configs:
        raise InputError(
            f"{given}: name a configuration, such as {dataset.name}:{next(iter(configs))}; {_all(configs)}"
        )
    splits = configs[config]
    if not splits.get(dataset.split):
        example = f"{SCHEME}{dataset.name}:{config}/{next(iter(splits))}"
        raise InputError(f"{given}: there is no split {dataset.split!r}; name one, such as {example}; {_all(splits)}")
    return splits[dataset.split]


def _all(names: Mapping[str, object]) -> str:
    return "there are " + ", ".join(list(names)[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _listed(given: str, dataset: Dataset) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Returns the URLs of all parquet files, by configuration and split."""
    if _offline():
        raise InputError(_unreachable(given, OFFLINE))
    token = os.environ.get("HF_TOKEN")
    url = f"{os.environ.get('HF_ENDPOINT', HUB).rstrip('/')}/api/datasets/{dataset.name}/parquet"
    asked = Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urlopen(asked, timeout=SECONDS) as reply:
            found = json.load(reply)
    except HTTPError as error:
        here = "" if given.startswith(SCHEME) else "there is no such file or folder, and on the hub "
        login = "" if token else "; a private or gated one needs HF_TOKEN"
        raise InputError(f"{given}: {here}there is no public dataset of this name ({error.code}){login}") from None
    except (OSError, ValueError) as error:
        raise InputError(_unreachable(given, str(error))) from None
    if not isinstance(found, dict) or not found:
        raise InputError(f"{given}: the hub has no parquet files of this dataset; download its own files")
    return found


def _unreachable(given: str, why: str) -> str:
    here = "" if given.startswith("hf://") else "there is no such file or folder, and "
    name = given.removeprefix(SCHEME).partition(":")[0]
    return (
        f"{given}: {here}the hub cannot be reached ({why}); where there is a network, run "
        f"`hf download --repo-type dataset {'/'.join(name.split('/')[:2])} --local-dir FOLDER`, and name the folder"
    )
