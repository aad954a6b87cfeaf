"""The Hugging Face hub: the folder of a dataset's repository, and its upload."""

import os
from dataclasses import dataclass, replace
from typing import Literal

import httpx
from huggingface_hub import DatasetCard, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from jobs.engine.export.kept import Kept
from jobs.engine.export.shards import write_shards
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError, WinnowError, first_line

CARD = "README.md"


@dataclass(frozen=True)
class Repository:
    """A dataset's repository on the hub."""

    name: str
    """owner/name."""
    visibility: Literal["private", "public"] = "private"
    token: str | None = None
    """With which files are uploaded; None for a dry run."""


def checked_repository(name: str | None, visibility: Literal["private", "public"]) -> Repository:
    """The repository of this name. UsageError where it is no owner/name."""
    if not name:
        raise UsageError("name the repository: --to hub --repo OWNER/NAME")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"--repo {name}: {first_line(error)}") from None
    if "/" not in name:
        raise UsageError(f"--repo {name}: write it with its owner, as OWNER/NAME")
    return Repository(name, visibility)


def with_token(repository: Repository) -> Repository:
    """The repository with the token of the user who is logged in. UsageError where no user is."""
    token = get_token()
    if not token:
        raise UsageError("no token for the hub: log in with `hf auth login`, or set HF_TOKEN; --dry-run needs none")
    return replace(repository, token=token)


def write_repository(kept: Kept, out: Folder) -> list[str]:
    """Writes the shards and the run's dataset card. Returns the columns that are JSON text, as `write_shards`."""
    texts = write_shards(kept, out)
    card = DatasetCard(kept.folder.content(CARD).decode())
    shards = [{"split": "train", "path": "data/train-*"}]
    card.data["configs"] = [{"config_name": "default", "data_files": shards}]
    out.write(CARD, str(card).encode())
    return texts


def sizes(out: Folder) -> dict[str, int]:
    """The bytes of each file of the repository, by its path there."""
    return {path[len(out.url) + 1 :]: os.path.getsize(path) for path in out.matching("**") if os.path.isfile(path)}


def push(out: Folder, repository: Repository) -> str:
    """Uploads the folder; makes the repository if it is not there. Returns the address of the commit.

    WinnowError where the hub refuses, cannot be reached, or has the repository in public while it is to be private.
    """
    api = HfApi(token=repository.token)
    private = repository.visibility == "private"
    try:
        api.create_repo(repository.name, repo_type="dataset", private=private, exist_ok=True)
        if private and not api.dataset_info(repository.name).private:
            raise UsageError(f"--repo {repository.name} is public; say --public, or name another repository")
        done = api.upload_folder(
            repo_id=repository.name, repo_type="dataset", folder_path=out.url, commit_message="Selected by Winnow"
        )
    except (HfHubHTTPError, httpx.HTTPError, OfflineModeIsEnabled) as error:
        raise WinnowError(f"the hub did not take {repository.name}: {first_line(error)}") from None
    return done.commit_url
