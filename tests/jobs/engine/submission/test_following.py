"""How a job that has ended is told, by a dashboard that only tells of it; its connection for logs breaks at once."""

import asyncio
import threading
from contextlib import contextmanager

import pytest
import ray
from aiohttp import web

from jobs.engine.submission import following
from jobs.engine.submission.cluster import reached
from jobs.engine.submission.following import followed, sent
from jobs.engine.terminal.errors import WinnowError
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


@contextmanager
def streaming(log, job):
    """The address of a dashboard that sends logs by `log(socket)`, and tells of the job what `job()` returns."""

    async def version(_):
        return web.json_response({"ray_version": ray.__version__, "session_name": "s"})

    async def tail(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await log(socket)
        return socket

    async def logs(_):
        return web.json_response({"logs": "one\ntwo\n"})

    async def info(_):
        told = job()
        return web.json_response(
            {"type": "SUBMISSION", "submission_id": "j", "entrypoint": "python", **told}, status=told.get("http", 200)
        )

    async def serve():
        app = web.Application()
        routes = {"/api/version": version, "/api/jobs/j/logs/tail": tail, "/api/jobs/j": info, "/api/jobs/j/logs": logs}
        app.add_routes([web.get(path, answer) for path, answer in routes.items()])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
        ready.set()

    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), []
    loop.create_task(serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def silent(socket):
    """A connection that is dead on the way: its other end has not closed it."""
    await socket.send_str("one\n")
    await asyncio.sleep(600)


async def broken(socket):
    """A connection that lives longer than a cluster may be silent, and breaks."""
    await asyncio.sleep(0.6)
    socket._req.transport.abort()


@pytest.mark.timeout(60)
def test_a_connection_that_is_dead_without_a_word_is_noticed(monkeypatch, capsys):
    monkeypatch.setattr(following, "QUIET_SECONDS", 0.5)
    with streaming(silent, lambda: {"status": "SUCCEEDED", "driver_exit_code": 0}) as address:
        assert followed("j", reached(address)) == 0
    assert capsys.readouterr().out == "one\ntwo\nj: done\n"


def test_a_cluster_may_be_silent_for_a_minute_also_after_a_long_run(monkeypatch):
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.1)
    answers = iter([{"http": 503}, {"status": "FAILED", "driver_exit_code": 3}])
    with streaming(broken, lambda: next(answers)) as address:
        assert followed("j", reached(address)) == 3


def test_a_job_that_the_cluster_has_lost_is_told_as_lost():
    lost = dashboard(told({"/api/jobs/j": (404, b"Job j does not exist")}))
    with lost as address, pytest.raises(WinnowError, match=r"does not know j any more: the cluster was started again"):
        followed("j", reached(address))
