"""What `winnow submit` refuses before it sends anything."""

import shlex
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest
import ray
from ray._private.runtime_env.packaging import create_package

from jobs import submit
from jobs.engine.submission.cluster import address_given, reached, token
from jobs.engine.submission.upload import LIMIT, refuse_large, uploaded
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.program import exit_code
from tests.servers import dashboard as scripted

SHARED = ["--out", "/s/out", "--store", "/s/w"]
CURATE = ["curate", "longest", "/s/data.jsonl", *SHARED]


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user without a token and without a cluster."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def said(capsys):
    """Runs the command: (exit code, the lines that it printed)."""

    def ran(*words):
        code = exit_code(lambda: submit.main([str(word) for word in words]))
        return code, capsys.readouterr().out.splitlines()

    return ran


def job(*words):
    return submit.submission(words, None, None)


def test_the_id_follows_from_the_run_and_not_from_how_it_is_executed():
    first = job(*CURATE, "budget=5%")
    assert first.id() == job("curate", "longest", "budget=5%", *SHARED, "/s/data.jsonl").id()
    assert first.id() == job(*CURATE, "budget=5%", "--profile", "gpu").id()
    assert first.id().startswith("winnow-longest-")
    others = [
        job(*CURATE, "budget=6%"),
        job("curate", "longest", "/s/other.jsonl", *SHARED, "budget=5%"),
        job("curate", "longest", "/s/data.jsonl", "--out", "/s/out2", "--store", "/s/w", "budget=5%"),
        job("curate", "at_random", "/s/data.jsonl", *SHARED, "budget=5%"),
        job(*CURATE, "budget=5%", "--retry-errors"),
        job(*CURATE, "budget=5%", "--plan"),
        job("ingest", "/s/data.jsonl", "--out", "/s/out"),
        job("train-scorer", "/s/data.jsonl", *SHARED, "budget=5%"),
    ]
    assert len({each.id() for each in [first, *others]}) == 1 + len(others)
    assert first.id(3) == f"{first.id()}-3"


@pytest.mark.parametrize(
    ("command", "option"),
    [(["compare", "ltd", "/s/a.jsonl", *SHARED], "--config"), (["train-scorer", "/s/p.jsonl", *SHARED], "--settings")],
)
def test_the_id_follows_from_what_a_file_says_that_the_command_reads(tmp_path, command, option):
    file, ids = tmp_path / "file", set()
    for content in ("{}", "{budget: 7}", "{budget: 7}"):
        file.write_text(content)
        ids.add(job(*command, option, str(file)).id())
    assert len(ids) == 2


def test_print_needs_no_cluster_and_prints_one_command(said):
    code, (line,) = said("--print", "--", *CURATE)
    assert code == 0
    words = shlex.split(line)
    assert words[:4] == ["ray", "job", "submit", "--submission-id"]
    assert words[words.index("--") + 1 :] == ["python", "-m", "jobs.curate", *CURATE[1:]]
    assert said("--print", "--", "compare", "ltd", "/a", *SHARED)[0] == 0
    code, (line,) = said("--print", "--address", "h:8265", "--working-dir", "none", "--", *CURATE)
    assert "--address http://h:8265 " in line
    assert "--working-dir" not in line


REFUSED = {
    "no --": (["curate", "ltd"], "put -- before the command"),
    "no command": (["--print", "--"], "put -- before the command"),
    "unknown": (["--print", "--", "currate"], "no command 'currate'; did you mean 'curate'?"),
    "itself": (["--print", "--", "check-cluster", "x"], "check_cluster runs on this machine"),
    "compared": (["--print", "--", "compare", "ltd", "deft", "a.jsonl", *SHARED], "the input a.jsonl: a job runs on"),
    "held out": (["--print", "--", "fit-rule", "/a", "--heldout", "h.jsonl", *SHARED], "--heldout h.jsonl: a job runs"),
    "test sets": (["--print", "--", *CURATE, "--decontaminate", "a/b", "t.jsonl"], "--decontaminate t.jsonl: a job"),
    "tuned": (["--print", "--", "compare", "/a", *SHARED, "--finetune", "./m", "--heldout", "/h"], "--finetune ./m: a"),
    "hub": (["--print", "--", "curate", "ltd", "own/set:en", *SHARED], "hub, write hf://datasets/own/set:en"),
    "local": (["--print", "--", "explain", "out", "3"], "explain computes nothing on a cluster"),
    "no inputs": (["--print", "--", "curate", "ltd"], "name a recipe and what to curate"),
    "no out": (["--print", "--", "curate", "ltd", "/a", "--store", "/s"], "say where to write: --out FOLDER"),
    "field": (["--print", "--", *CURATE, "budgt=1"], "unknown field 'budgt'; did you mean 'budget'?"),
    "out": (["--print", "--", "ingest", "/a", "--out", "pool"], "--out pool: a job runs on other machines"),
    "store": (["--print", "--", *CURATE[:5]], "--store is missing"),
    "input": (["--print", "--", "curate", "ltd", "a.jsonl", *SHARED], "the input a.jsonl: a job runs on"),
    "model": (["--print", "--", "curate", "ltd", "/a", *SHARED, "embed.model.name=./m"], "embed.model.name=./m: a job"),
    "evaluated": (["--print", "--", "evaluate", "../m", "/a", "--store", "/s"], "model=../m: a job runs on other"),
    "seeds": (["--print", "--", "evolve", "quality", "a.jsonl", *SHARED], "the input a.jsonl: a job runs on"),
    "profile": (["--print", "--", *CURATE, "--profile", "mine.yaml"], "--profile mine.yaml: there is no such file in"),
    "image": (["--print", "--working-dir", "none", "--", *CURATE, "--profile", "m.yaml"], "as no code is sent"),
    "code": (["--print", "--working-dir", "/", "--", *CURATE], "--working-dir /: there is no folder `jobs` in it"),
    "environment": (["--print", "--runtime-env", "/no.yaml", "--", *CURATE], "--runtime-env /no.yaml: No such file"),
    "no address": (["--", *CURATE], "say which cluster: --address"),
    "no cluster": (["--address", "127.0.0.1:9", "--", *CURATE], "http://127.0.0.1:9: no cluster answers there"),
    "ray://": (["--address", "ray://h:10001", "--", *CURATE], "--address ray://h:10001: give the address of"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(said, case):
    words, message = REFUSED[case]
    code, lines = said(*words)
    assert code == 2
    assert len(lines) == 1, lines
    assert message in lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env_var: {}", "env_var: there is no such field; did you mean 'env_vars'?"),
        ("env_vars: {A: 1}", "env_vars.A: 1 is not text"),
        ("working_dir: .", "working_dir: give --working-dir instead"),
        ("- a", "is not a mapping"),
        ("env_vars: [A]", "runtime_env['env_vars'] must be of type Dict[str, str], got <class 'list'>"),
        ("excludes: data/", "runtime_env['excludes'] must be of type List[str], got <class 'str'>"),
        ("pip: [a]\nuv: [b]", "cannot be specified at the same time."),
    ],
)
def test_a_wrong_runtime_environment_is_refused(said, tmp_path, text, message):
    (tmp_path / "e.yaml").write_text(text)
    code, (line,) = said("--print", "--runtime-env", tmp_path / "e.yaml", "--", *CURATE)
    assert code == 2
    assert message in line


def test_a_config_is_read_here_and_its_inputs_are_checked(said, tmp_path):
    (tmp_path / "run.yaml").write_text("recipe: longest\ninputs: [near.jsonl]\n")
    code, (line,) = said("--print", "--", "curate", "--config", tmp_path / "run.yaml", *SHARED)
    assert code == 2
    assert "the input near.jsonl" in line


def test_a_config_that_ray_would_leave_out_is_refused(said, monkeypatch, tmp_path):
    folder = folder_to_send(tmp_path)
    for place in ("out", "jobs", "jobs/mine"):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / "run.yaml").write_text("recipe: longest\ninputs: [/s/far.jsonl]\n")
    (tmp_path / "e.yaml").write_text("excludes: [jobs/mine]\n")
    monkeypatch.chdir(folder)
    sending = (
        "--print",
        "--working-dir",
        ".",
        "--runtime-env",
        tmp_path / "e.yaml",
        "--",
        "curate",
        *SHARED,
        "--config",
    )
    assert said(*sending, "./jobs/run.yaml")[0] == 0
    for place in ("out/run.yaml", "jobs/mine/run.yaml"):
        code, (line,) = said(*sending, place)
        assert code == 2
        assert f"--config {place}: it is not sent with {folder}" in line


def folder_to_send(tmp_path: Path) -> Path:
    """Files of which some are left out by each of Ray's rules."""
    files = ("jobs/a.py", "data/big.bin", "data/.rayignore", "data/kept.txt", "left.log", "out/x", ".git/y", ".venv/z")
    for each in files:
        file = tmp_path / "code" / each
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("0" * (5000 if "big" in each else 100))
    (tmp_path / "code" / ".gitignore").write_text("*.log\n")
    (tmp_path / "code" / ".rayignore").write_text("out/\n")
    (tmp_path / "code" / "data" / ".rayignore").write_text("nothing\n")
    return tmp_path / "code"


def test_what_is_counted_is_what_ray_packs(tmp_path):
    folder, package = folder_to_send(tmp_path), tmp_path / "package.zip"
    create_package(str(folder), package, include_gitignore=True, excludes=[".git", ".venv", "venv", "__pycache__"])
    with zipfile.ZipFile(package) as archive:
        packed = {each.filename: each.file_size for each in archive.infolist() if not each.is_dir()}
    assert {each.file: each.bytes for each in uploaded(folder)} == packed
    assert packed.keys() >= {"jobs/a.py", "data/big.bin", "data/kept.txt"}
    assert not packed.keys() & {"left.log", "out/x", ".git/y", ".venv/z"}


@pytest.mark.fault(
    "a cluster has other versions, or an upload is too large",
    how="a folder above Ray's limit",
    holds="refused with the largest files, and .rayignore",
)
def test_an_upload_above_rays_limit_names_the_largest_files(tmp_path, said):
    folder = folder_to_send(tmp_path)
    refuse_large(folder, limit=6000)
    refuse_large(folder, ["data/*.bin"], limit=5000)
    refuse_large(None, limit=0)
    with pytest.raises(
        UsageError, match=r"and Ray takes 0 MiB. The largest files are data/big.bin \(0.0 MiB\), .*\.rayignore"
    ):
        refuse_large(folder, limit=5000)
    with (folder / "data" / "big.bin").open("r+b") as file:
        file.truncate(LIMIT)  # no block of it is written to the disk
    code, lines = said("--address", "127.0.0.1:9", "--working-dir", folder, "--", *CURATE)
    assert code == 2
    assert len(lines) == 2
    assert f"{LIMIT / 2**20:,.0f} MiB" in lines[1]
    assert "data/big.bin (100.0 MiB)" in lines[1]


def test_this_checkout_is_far_below_the_limit():
    files = uploaded(job(*CURATE).working_dir)
    assert sum(each.bytes for each in files) < 10 * 2**20
    assert {"jobs/curate.py", "cluster/profiles/gpu.yaml", "pyproject.toml"} <= {each.file for each in files}
    assert not [each.file for each in files if each.file.startswith(("tests/", "docs/", "benchmarks/", ".venv"))]


@pytest.mark.fault(
    "a token is missing or wrong",
    how="a token in each place where Ray looks, and in none",
    holds="it is found as by Ray",
)
def test_a_token_is_found_as_ray_finds_it(monkeypatch, tmp_path):
    assert token() == ("", "")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("home\n")
    assert token()[0] == "home"
    (tmp_path / "named").write_text("named")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "named"))
    assert token()[0] == "named"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert token() == ("given", "RAY_AUTH_TOKEN")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"RAY_AUTH_TOKEN_PATH=.*none: No such file"):
        token()


@pytest.mark.parametrize("held", ["aaSECRETaa\nbbSECRETbb\n", "秘密SECRET", "the SECRET"])
def test_what_is_no_token_is_refused_and_not_printed(dashboard, said, monkeypatch, tmp_path, held):
    (tmp_path / "held").write_text(held, encoding="utf-8")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "held"))
    asking = dashboard({"/api/authentication_mode": (200, {"authentication_mode": "token"})})
    code, (line,) = said("--address", asking, "--", *CURATE)
    assert code == 2
    assert line.startswith(f"error: RAY_AUTH_TOKEN_PATH={tmp_path / 'held'} holds more than a token")
    assert "SECRET" not in line


def test_the_address_is_the_options_or_the_environments(monkeypatch):
    assert address_given(None) is None
    monkeypatch.setenv("RAY_ADDRESS", "http://a:1/")
    assert address_given(None) == "http://a:1"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://b")
    assert address_given(None) == "https://b"
    assert address_given("c:8265") == "http://c:8265"


@pytest.fixture
def dashboard():
    """A dashboard that answers with the content of a path: dashboard({path: (status, content)}) -> its address."""
    with ExitStack() as servers:
        yield lambda replies: servers.enter_context(scripted(replies))


def version(ray_version: str) -> tuple[int, dict]:
    return 200, {"version": "4", "ray_version": ray_version, "session_name": "s"}


@pytest.mark.fault(
    "a cluster has other versions, or an upload is too large",
    how="a dashboard that tells another Ray or Python",
    holds="refused before anything is sent",
)
def test_a_cluster_of_another_ray_or_python_is_refused(dashboard, said):
    old = dashboard({"/api/version": version("2.59.1")})
    code, (line,) = said("--address", old, "--", *CURATE)
    assert code == 2
    assert f"the cluster has Ray 2.59.1, and here is Ray {ray.__version__}" in line

    probe = "winnow-probe-043a718774c5"
    entry = {"type": "SUBMISSION", "submission_id": probe, "status": "SUCCEEDED", "entrypoint": "python"}
    replies = {
        "/api/version": version(ray.__version__),
        "/api/jobs/": (200, [entry]),
        f"/api/jobs/{probe}": (200, entry),
        f"/api/jobs/{probe}/logs": (200, {"logs": 'noise\n{"probe": 1, "python": "3.9.1", "ray": "2.60.0"}\n'}),
    }
    code, (line,) = said("--address", dashboard(replies), "--", *CURATE)
    assert code == 2
    assert "python on the cluster is Python 3.9.1, and here is Python 3." in line


def test_a_cluster_whose_python_does_not_run_is_refused_with_what_it_says(dashboard, said):
    probe = "winnow-probe-043a718774c5"
    entry = {"type": "SUBMISSION", "submission_id": probe, "status": "RUNNING", "entrypoint": "python"}
    replies = {
        "/api/version": version(ray.__version__),
        "/api/jobs/": (200, [entry]),
        f"/api/jobs/{probe}": (200, entry | {"status": "FAILED"}),
        f"/api/jobs/{probe}/logs": (200, {"logs": "noise\nbash: python: command not found\n\n"}),
    }
    code, (line,) = said("--address", dashboard(replies), "--", *CURATE)
    assert code == 2
    assert line.endswith("`python` does not run on the cluster: bash: python: command not found")


def test_a_dashboard_whose_jobs_fail_is_told_in_one_line(dashboard, said):
    failing = dashboard({"/api/version": version(ray.__version__), "/api/jobs/": (500, b"Traceback\nRpcError: no GCS")})
    code, lines = said("--address", failing, "--", *CURATE)
    assert (code, lines) == (1, [f"error: --address {failing}: the dashboard failed: RpcError: no GCS."])


def test_what_answers_but_is_no_dashboard_is_refused(dashboard):
    with pytest.raises(UsageError, match=r"what answers there is not a Ray dashboard \(HTTP 200\)"):
        reached(dashboard({"/api/authentication_mode": (200, b"<html>")}))
    with pytest.raises(UsageError, match=r"not a Ray dashboard"):
        reached(dashboard({}))
