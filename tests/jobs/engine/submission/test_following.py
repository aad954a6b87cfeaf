"""How a job that has ended is told, by a dashboard that only tells of it; its connection for logs breaks at once."""

import pytest
import ray

from jobs.engine.submission.cluster import reached
from jobs.engine.submission.following import followed, sent
from jobs.submit import submission
from tests.servers import dashboard

ENDS = {
    "done": ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0, "j: done"),
    "failed": ({"status": "FAILED", "driver_exit_code": 3}, 3, "j: failed with exit code 3. The same command sends it"),
    "killed": ({"status": "FAILED", "driver_exit_code": -9}, 137, "j: failed with exit code 137"),
    "lost": ({"status": "FAILED", "message": "the node died\nmore"}, 1, "or while it did: the node died"),
    "stopped": ({"status": "STOPPED"}, 143, "j: stopped. What is done is kept"),
}  # fmt: skip


def told(replies):
    """A cluster whose dashboard gives these replies."""
    return {"/api/version": (200, {"ray_version": ray.__version__, "session_name": "s"}), **replies}


@pytest.mark.parametrize("end", ENDS)
def test_the_exit_code_is_that_of_the_job_and_its_log_is_printed(capsys, end):
    facts, code, words = ENDS[end]
    job = {"type": "SUBMISSION", "submission_id": "j", "entrypoint": "python", **facts}
    with dashboard(told({"/api/jobs/j": (200, job), "/api/jobs/j/logs": (200, {"logs": "one\n第二行\n"})})) as address:
        assert followed("j", reached(address)) == code
    *log, last = capsys.readouterr().out.splitlines()
    assert log == ["one", "第二行"]
    assert words in last


def test_what_failed_is_sent_again_and_what_somebody_else_just_sent_is_joined(capsys):
    job = submission(["ingest", "/s/a.jsonl", "--out", "/s/pool"], "none", None)
    ended = [
        {"type": "SUBMISSION", "submission_id": job.id(attempt), "status": status, "entrypoint": "python"}
        for attempt, status in ((1, "FAILED"), (2, "STOPPED"))
    ]
    taken = (500, b"ValueError: Job with submission_id x already exists. Please use another.")
    with dashboard(told({"/api/jobs/": (200, ended), "POST /api/jobs/": taken})) as address:
        assert sent(job, reached(address)) == job.id(3)
    assert capsys.readouterr().out == f"{job.id(3)} was sent already and goes on: this joins it\n"
    new = {"submission_id": job.id(3), "job_id": job.id(3)}
    with dashboard(told({"/api/jobs/": (200, ended), "POST /api/jobs/": (200, new)})) as address:
        assert sent(job, reached(address)) == job.id(3)
    assert capsys.readouterr().out == f"sent {job.id(3)}; it goes on where {job.id(2)} ended\n"
