"""A job on a cluster, followed to its end: its log, and its exit code."""

import asyncio
import sys
import time

import aiohttp
from ray.job_submission import JobDetails, JobStatus

from jobs.engine.submission.cluster import DONE, Cluster, send
from jobs.engine.submission.submission import Submission
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.screen import say

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
QUIET_SECONDS = 120.0
"""How long nothing may come over the connection for logs until the job is asked for: it may be dead on one side."""
UNKNOWN = "does not exist"
"""What a dashboard says of a job that it does not know."""
STOPPED = 143
"""The exit code of a command that was ended by SIGTERM, which is how Ray stops a job."""

UNREACHED = (RuntimeError, aiohttp.ClientError, OSError)
"""How Ray's client fails where the cluster does not answer, or closes a connection."""


def sent(submission: Submission, cluster: Cluster) -> str:
    """Sends the job, unless the cluster has it: one that runs is joined, and one that ended well is not sent again.

    One that failed or was stopped is sent again under the id of a new attempt. Returns the submission id.
    """
    known = {each.submission_id: each.status for each in cluster.client.list_jobs()}
    attempt = 1
    while known.get(submission.id(attempt)) in (JobStatus.FAILED, JobStatus.STOPPED):
        attempt += 1
    name = submission.id(attempt)
    status = known.get(name)
    if status is None:
        new = send(
            cluster,
            entrypoint=submission.entrypoint,
            submission_id=name,
            runtime_env=submission.runtime_env,
            metadata=submission.metadata,
        )
        again = f"; it goes on where {submission.id(attempt - 1)} ended" if attempt > 1 else ""
        say(f"sent {name}{again}" if new else f"{name} was sent already and goes on: this joins it")
    elif status == JobStatus.SUCCEEDED:
        say(
            f"{name} was sent already and has ended well; this is its log. To run it again, delete it: "
            f"ray job delete --address {cluster.address} {name}"
        )
    else:
        say(f"{name} was sent already and goes on: this joins it")
    return name


def followed(name: str, cluster: Cluster) -> int:
    """Prints the log of a job until the job ends. Returns the exit code of its command.

    143: it was stopped. 130: this program was interrupted, and the job goes on.
    """
    try:
        return _code(_ended(name, cluster), cluster)
    except KeyboardInterrupt:
        say(
            f"\n{name} goes on; the same command joins it again. To stop it: "
            f"ray job stop --address {cluster.address} {name}"
        )
        return 130


def _ended(name: str, cluster: Cluster) -> JobDetails:
    """The job after its end. WinnowError where the cluster cannot be reached for a minute, or has lost the job."""
    printed, silent_since = 0, None
    while True:
        try:
            printed, whole = asyncio.run(_log(name, cluster, printed))
            info = cluster.client.get_job_info(name)
            silent_since = None
            if info.status in DONE:
                if not whole:
                    _write(cluster.client.get_job_logs(name)[printed:])
                return info
        except UNREACHED as error:
            if UNKNOWN in str(error):
                raise WinnowError(
                    f"{cluster.address} does not know {name} any more: the cluster was started again, or somebody "
                    "deleted the job. What is done is kept, and the same command sends it again"
                ) from error
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > PATIENCE_SECONDS:
                raise WinnowError(
                    f"{cluster.address} does not answer any more. {name} may go on; the same command joins it again"
                ) from error
        time.sleep(POLL_SECONDS)


async def _log(name: str, cluster: Cluster, printed: int) -> tuple[int, bool]:
    """Prints what a job writes, beyond the characters that were printed before.

    Returns how many were printed, and whether the log came to its end; the connection may break before.
    """
    read, pieces = 0, cluster.client.tail_job_logs(name)
    try:
        while (piece := await asyncio.wait_for(anext(pieces, None), QUIET_SECONDS)) is not None:
            read += len(piece)
            if read > printed:
                _write(piece[max(0, len(piece) - (read - printed)) :])
                printed = read
    except UNREACHED:
        return printed, False
    return printed, True


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _code(job: JobDetails, cluster: Cluster) -> int:
    name, code = job.submission_id, job.driver_exit_code
    if job.status == JobStatus.SUCCEEDED:
        say(f"{name}: done")
        return 0
    if job.status == JobStatus.STOPPED:
        say(f"{name}: stopped. What is done is kept, and the same command goes on from there")
        return STOPPED
    if code is None:
        said = (job.message or "no reason was given").strip().splitlines()
        say(f"error: {name} failed on {cluster.address} before its command ran or while it did: {said[0]}")
        return 1
    code = code if code > 0 else 128 - code
    say(f"{name}: failed with exit code {code}. The same command sends it again")
    return code
