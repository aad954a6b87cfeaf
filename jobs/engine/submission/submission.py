"""What is sent to a cluster: a command, its code and its environment, under an id that follows from the run."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.engine.record.declarations import yaml_in
from jobs.engine.terminal.errors import UsageError, first_line
from jobs.engine.terminal.modules import JOBS, nearest
from operators.base import canonical_digest

RUNTIME_ENV = JOBS.parent / "cluster" / "runtime_env.yaml"
RUNTIME_FIELDS = ("env_vars", "excludes", "pip", "uv", "py_modules", "config")
PYTHON = "python"
"""How the entrypoint calls Python: the one in PATH on the cluster."""


@dataclass(frozen=True)
class Submission:
    """A command as a job."""

    label: str
    """The recipe or the command; it begins the id."""
    identity: Mapping[str, Any]
    """What the run is: the same for the same run. Execution settings are not in it."""
    command: str
    words: Sequence[str]
    working_dir: Path | None
    """The folder whose code is sent; None for the code that is installed on the cluster."""
    environment: Mapping[str, Any]
    """The runtime environment without the working directory."""

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the identity."""
        return canonical_digest(dict(self.identity))

    def id(self, attempt: int = 1) -> str:
        """The submission id of an attempt: the same for the same run, so that a cluster takes it once."""
        first = f"winnow-{self.label}-{self.fingerprint[:12]}"
        return first if attempt == 1 else f"{first}-{attempt}"

    @property
    def entrypoint(self) -> str:
        """The command line that the cluster runs."""
        return shlex.join([PYTHON, "-m", f"jobs.{self.command}", *self.words])

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment, as Ray's client takes it."""
        where = {"working_dir": str(self.working_dir)} if self.working_dir else {}
        return {**self.environment, **where}

    @property
    def excludes(self) -> Sequence[str]:
        """The patterns of files that are not sent, besides those of .gitignore and .rayignore."""
        return self.environment.get("excludes") or ()

    @property
    def metadata(self) -> dict[str, str]:
        """What the cluster shows beside the job."""
        return {"winnow": self.fingerprint}

    def command_line(self, address: str | None, attempt: int = 1) -> str:
        """The `ray job submit` that sends the same."""
        words = ["ray", "job", "submit", *(["--address", address] if address else [])]
        words += ["--submission-id", self.id(attempt)]
        words += ["--working-dir", str(self.working_dir)] if self.working_dir else []
        words += ["--runtime-env-json", json.dumps(self.environment)] if self.environment else []
        words += ["--metadata-json", json.dumps(self.metadata)]
        return shlex.join([*words, "--", *shlex.split(self.entrypoint)])


def environment_in(file: Path | None) -> dict[str, Any]:
    """The runtime environment in a YAML file; None for cluster/runtime_env.yaml, or an empty one where that is missing.

    UsageError where it cannot be read, or has a field that Ray's runtime environments do not have.
    """
    if file is None and not RUNTIME_ENV.exists():
        return {}
    file = file or RUNTIME_ENV
    content = yaml_in(file, f"--runtime-env {file}") or {}
    if not isinstance(content, dict):
        raise UsageError(f"--runtime-env {file} is not a mapping")
    for name in content:
        if name == "working_dir":
            raise UsageError(f"--runtime-env {file}: working_dir: give --working-dir instead")
        if name not in RUNTIME_FIELDS:
            raise UsageError(f"--runtime-env {file}: {name}: there is no such field{nearest(name, RUNTIME_FIELDS)}")
    variables = content.get("env_vars")
    for name, value in variables.items() if isinstance(variables, dict) else ():
        if not isinstance(value, str):
            raise UsageError(
                f"--runtime-env {file}: env_vars.{name}: {value!r} is not text: put quotation marks around it"
            )
    _refuse_as_ray(content, file)
    return content


def _refuse_as_ray(content: Mapping[str, Any], file: Path) -> None:
    """UsageError where Ray's client would not take a runtime environment, such as for a text in place of a list."""
    from ray.runtime_env import RuntimeEnv  # noqa: PLC0415 - slow, and not for those who only name a wrong file

    try:
        RuntimeEnv(**content)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--runtime-env {file}: {first_line(error)}") from None


def code_at(given: str | None) -> Path | None:
    """The folder whose code is sent: the one given, or this checkout, or None where Winnow is an installed package.

    UsageError where there is no such folder, or it has no code of Winnow.
    """
    if given == "none":
        return None
    if given is None:
        return JOBS.parent if (JOBS.parent / "pyproject.toml").exists() else None
    folder = Path(given).resolve()
    if not (folder / "jobs").is_dir():
        raise UsageError(f"--working-dir {given}: there is no folder `jobs` in it, which has the code that is to run")
    return folder
