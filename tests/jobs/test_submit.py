"""`winnow submit` against a Ray head of its own, with a token."""

import json
import shlex
import tempfile
from pathlib import Path

import httpx
import pytest

from jobs import submit
from jobs.engine.submission.cluster import reached
from jobs.engine.submission.following import followed, sent
from jobs.engine.submission.upload import LIMIT
from jobs.engine.terminal.program import exit_code
from tests.docs import blocks
from tests.heads import head


@pytest.fixture(scope="module")
def started():
    (machines,) = (block for block in blocks("run by test_submit") if block[-1].startswith("ray start"))
    folder = tempfile.TemporaryDirectory(prefix="wh", dir="/tmp", ignore_cleanup_errors=True)
    with folder as home, head(Path(home), machines) as running:
        yield running


@pytest.fixture
def submitted(started, monkeypatch, capfd):
    """Runs `winnow submit` with words: (exit code, what it printed)."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(started.token))

    def ran(*words):
        code = exit_code(lambda: submit.main(["--address", started.address, *map(str, words)]))
        return code, capfd.readouterr().out

    return ran


def documented(shared: Path) -> list[str]:
    """The command after -- in docs/clusters.md, with the folder in place of /shared."""
    (line,) = (line for block in blocks("run by test_submit") for line in block if line.startswith("winnow submit"))
    words = shlex.split(line.replace("/shared", str(shared)))
    return words[words.index("--") + 1 :]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault(
    "a token is missing or wrong",
    how="a head with RAY_AUTH_MODE=token; no token, and that of another cluster",
    holds="exit code 2 and one line each; with the token the job runs, and its exit code is the command's",
)
def test_a_command_is_sent_once_followed_and_ends_with_its_exit_code(started, submitted, monkeypatch, tmp_path):
    records = [{"instruction": f"第{each}题 question", "output": "答" * (each % 7 + 1)} for each in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    (tmp_path / "bad.jsonl").write_text("no record\n" * 3)
    command = documented(tmp_path)

    # who may not: no token, a token of another cluster
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    code, said = submitted("--", *command)
    assert (code, said.count("\n")) == (2, 1)
    assert "the cluster asks for a token, and there is none here" in said
    monkeypatch.setenv("RAY_AUTH_TOKEN", "6" * 64)
    code, said = submitted("--", *command)
    assert (code, said.count("\n")) == (2, 1)
    assert "the cluster refuses the token in RAY_AUTH_TOKEN" in said
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(started.token))

    # what this program takes for the limit of an upload is the dashboard's
    packages, allowed = (
        f"{started.address}/api/packages/gcs",
        {"Authorization": f"Bearer {started.token.read_text().strip()}"},
    )
    for size, taken in ((LIMIT, False), (LIMIT - 1, True)):
        reply = httpx.put(f"{packages}/_ray_pkg_{size}.zip", content=bytes(size), headers=allowed, timeout=60)
        assert (reply.status_code == 200) == taken, reply.text

    # sent, joined while it runs, and what was sent is what --print prints
    cluster = reached(started.address)
    assert sent(submit.submission(command, None, None), cluster).startswith("winnow-longest-")
    code, said = submitted("--", *command)
    assert code == 0, said
    assert "was sent already and goes on: this joins it" in said
    assert "longest: 4 kept, 36 dropped" in said
    assert (tmp_path / "out" / "selected.jsonl").read_text().count("\n") == 4
    code, printed = submitted("--print", "--", *command)
    words = shlex.split(printed)
    name = words[words.index("--submission-id") + 1]
    job = cluster.client.get_job_info(name)
    assert code == 0
    assert words[:5] == ["ray", "job", "submit", "--address", started.address]
    assert job.entrypoint == shlex.join(words[words.index("--") + 1 :])
    assert job.metadata == json.loads(words[words.index("--metadata-json") + 1])
    environment = json.loads(words[words.index("--runtime-env-json") + 1])
    assert job.runtime_env["env_vars"].items() >= environment["env_vars"].items()
    assert job.runtime_env["working_dir"].startswith("gcs://")

    # once it has ended well, it is not sent again
    code, said = submitted("--", *command)
    assert code == 0
    assert f"{name} was sent already and has ended well" in said
    assert "longest: 4 kept, 36 dropped" in said

    # the exit code is that of the command, and what failed is sent again
    bad = ["ingest", str(tmp_path / "bad.jsonl"), "--out", str(tmp_path / "pool")]
    code, said = submitted("--", *bad)
    assert code == 3, said
    assert "failed with exit code 3" in said
    again = sent(submit.submission(bad, None, None), cluster)
    assert again.endswith("-2")
    cluster.client.stop_job(again)
    assert followed(again, cluster) == 143
    names = [each.submission_id for each in cluster.client.list_jobs()]
    assert sorted(each.rsplit("-", 1)[0] for each in names if "probe" in each) == ["winnow-probe"]
    assert len(names) == 4
