"""A cluster as it is reached from outside: its dashboard, its token, and the versions that it runs.

cluster = reached("http://10.0.0.1:8265")
refuse_other_versions(cluster)
"""

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from ray.job_submission import JobStatus, JobSubmissionClient

from jobs.engine.submission.submission import PYTHON
from jobs.engine.terminal.errors import UsageError, WinnowError, first_line

CONNECT_SECONDS = 10.0
PROBE_SECONDS = 180.0
ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
DASHBOARD = "the address of the cluster's dashboard, such as http://HEAD:8265"
PROBE = (
    "import json, platform, ray; print(json.dumps({'probe': 1, 'python': platform.python_version(), "
    "'ray': ray.__version__}))"
)
"""What a small job prints of the Python that runs the entrypoints of a cluster; its dashboard does not say it."""
DONE = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}


@dataclass(frozen=True)
class Cluster:
    """A cluster that answered."""

    address: str
    ray: str
    session: str
    """The name that Ray gave to this start of the cluster."""
    headers: dict[str, str]
    """The headers that authorize a request."""

    @cached_property
    def client(self) -> JobSubmissionClient:
        """Ray's client for jobs."""
        return JobSubmissionClient(self.address, headers=dict(self.headers))


def address_given(option: str | None) -> str | None:
    """The URL of the dashboard that the option or the environment gives; None where neither does.

    UsageError where it is no such URL.
    """
    named = [os.environ.get(name, "") for name in ADDRESSES]
    found = option or next((each for each in named if each), None)
    if not found:
        return None
    url = found if "://" in found else f"http://{found}"
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"--address {found}: give {DASHBOARD}")
    return url.rstrip("/")


def address_of(option: str | None) -> str:
    """As `address_given`; UsageError where there is none."""
    found = address_given(option)
    if found is None:
        raise UsageError(f"say which cluster: --address with {DASHBOARD}")
    return found


def token() -> tuple[str, str]:
    """The token of this user and where it was found, by Ray's own rules; both empty where there is none.

    UsageError where a file is named that cannot be read, and for what no header of a request can hold. It does not say
    what that is, because it may be a token and something beside it.
    """
    found, where = _token_found()
    if not re.fullmatch(r"[!-~]*", found):
        raise UsageError(
            f"{where} holds more than a token: it may have no blanks, further lines or letters beyond ASCII"
        )
    return found, where


def _token_found() -> tuple[str, str]:
    if found := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return found, "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return file.read_text(encoding="utf-8").strip(), f"RAY_AUTH_TOKEN_PATH={named}" if named else str(file)
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise UsageError(f"RAY_AUTH_TOKEN_PATH={named}: {getattr(error, 'strerror', None) or error}") from None
        return "", ""


def reached(address: str) -> Cluster:
    """The cluster at the URL of a dashboard. UsageError where none answers, or it does not let this user in."""
    mode = _asked(address, "/api/authentication_mode", {})
    headers, where = {}, ""
    if mode.get("authentication_mode", "disabled") != "disabled":
        secret, where = token()
        if not secret:
            raise UsageError(
                f"--address {address}: the cluster asks for a token, and there is none here: write it into a file and "
                "set RAY_AUTH_TOKEN_PATH to it (`ray get-auth-token` on the head prints it)"
            )
        headers = {"Authorization": f"Bearer {secret}"}
    version = _asked(address, "/api/version", headers, where)
    if "ray_version" not in version:
        raise UsageError(f"--address {address}: what answers there is not a Ray dashboard")
    return Cluster(address, str(version.get("ray_version")), str(version.get("session_name")), headers)


def _asked(address: str, path: str, headers: dict[str, str], where: str = "") -> dict[str, Any]:
    """The JSON that a dashboard answers; empty for a path that it does not have."""
    try:
        reply = httpx.get(f"{address}{path}", headers=headers, timeout=CONNECT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"--address {address}: no cluster answers there ({first_line(error)}). Give {DASHBOARD}; on Kubernetes "
            "forward its port first: kubectl port-forward svc/NAME-head-svc 8265:8265"
        ) from None
    if reply.status_code in (401, 403):
        raise UsageError(
            f"--address {address}: the cluster refuses the token in {where or 'use'}: is it of another one?"
        )
    if reply.status_code == 404:
        return {}
    try:
        found = reply.json()
    except ValueError:
        found = None
    if reply.status_code != 200 or not isinstance(found, dict):
        raise UsageError(f"--address {address}: what answers there is not a Ray dashboard (HTTP {reply.status_code})")
    return found


def refuse_other_versions(cluster: Cluster) -> None:
    """UsageError where the Ray or the Python of the cluster is another minor version than those here."""
    here = importlib.metadata.version("ray")
    if minor(cluster.ray) != minor(here):
        raise UsageError(
            f"--address {cluster.address}: the cluster has Ray {cluster.ray}, and here is Ray {here}: install the same "
            "on both sides (constraints.txt)"
        )
    there, ours = probed(cluster)["python"], ".".join(map(str, sys.version_info[:3]))
    if minor(there) != minor(ours):
        raise UsageError(
            f"--address {cluster.address}: {PYTHON} on the cluster is Python {there}, and here is Python {ours}: "
            "submit from the same version"
        )


def minor(version: str) -> str:
    """The major and minor part of a version."""
    return ".".join(version.split(".")[:2])


def probed(cluster: Cluster) -> dict[str, Any]:
    """What the Python of the cluster says about itself. One job asks it per start of the cluster; later calls read it.

    UsageError where it cannot import Ray; WinnowError where there is no answer in three minutes.
    """
    name = f"winnow-probe-{hashlib.sha256(cluster.session.encode()).hexdigest()[:12]}"
    known = {each.submission_id: each for each in cluster.client.list_jobs()}
    if name in known and known[name].status in (JobStatus.FAILED, JobStatus.STOPPED):
        cluster.client.delete_job(name)
        del known[name]
    if name not in known:
        send(cluster, entrypoint=f'{PYTHON} -c "{PROBE}"', submission_id=name)
    until = time.monotonic() + PROBE_SECONDS
    while (status := cluster.client.get_job_status(name)) not in DONE:
        if time.monotonic() > until:
            raise WinnowError(f"--address {cluster.address}: a job that only prints did not run in {PROBE_SECONDS:g} s")
        time.sleep(0.5)
    log = cluster.client.get_job_logs(name)
    said = next((line for line in log.splitlines() if line.startswith('{"probe"')), None)
    if status != JobStatus.SUCCEEDED or said is None:
        last = next((line for line in reversed(log.splitlines()) if line.strip()), str(status))
        raise UsageError(f"--address {cluster.address}: `{PYTHON}` does not run on the cluster: {last}")
    return json.loads(said)


@contextmanager
def answering(cluster: Cluster) -> Iterator[None]:
    """Raises what Ray's client raises in the block, where the dashboard refuses a request, as a WinnowError."""
    try:
        yield
    except RuntimeError as error:
        raise WinnowError(f"--address {cluster.address}: the dashboard failed: {_reason(error)}") from error


def send(cluster: Cluster, **job: Any) -> bool:
    """Sends a job. Returns whether it is new; False where a job of the same id is there. WinnowError where it fails."""
    try:
        cluster.client.submit_job(**job)
    except RuntimeError as error:
        if "already exists" in str(error):
            return False
        raise WinnowError(f"--address {cluster.address}: the job was not taken: {_reason(error)}") from error
    return True


def _reason(error: BaseException) -> str:
    """The last line of an error of the dashboard, which sends a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1] if lines else type(error).__name__
