"""What a command refuses before it starts Ray: who has mistyped something is told at once, and told all of it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobs import compare, curate, doctor, evaluate, evolve, explain, finetune, fit_rule, ingest, train_scorer
from jobs.engine.command.config import Request, build
from jobs.engine.command.places import SUBMITTED, out_folder, out_pool, store_at
from jobs.engine.execute.session import TOO_SLOW, _join, _start_twice
from jobs.engine.terminal.errors import UsageError, WinnowError
from jobs.engine.terminal.program import fields_and_others
from tests.jobs.corpora import jsonl, records
from tests.tiny import tiny_causal

COMMANDS = {
    "curate": ["at_random", "in.jsonl"],
    "finetune": ["in.jsonl", "base.name=model"],
    "evaluate": ["model", "in.jsonl"],
    "evolve": ["complexity", "in.jsonl", "rewriter.model.name=model", "judge.model.name=model"],
    "train_scorer": ["in.jsonl", "finetune.base.name=model"],
    "ingest": ["in.jsonl"],
    "fit_rule": ["in.jsonl", "--heldout", "in.jsonl", "indicators=mtld", "train.base.name=model"],
}
MODULES = {
    "compare": compare, "curate": curate, "finetune": finetune, "evaluate": evaluate, "evolve": evolve,
    "train_scorer": train_scorer, "ingest": ingest, "doctor": doctor, "explain": explain, "fit_rule": fit_rule,
}  # fmt: skip


@pytest.fixture
def refused(run, tmp_path):
    """What a command says that exits with 2 and leaves nothing behind, not even the store."""
    jsonl(tmp_path / "in.jsonl", records(4))
    (tmp_path / "file").write_text("x")
    (tmp_path / "text.yaml").write_text("inputs: in.jsonl")
    for folder, content in (("listed", '[{"instruction": "a", "output": "b"}]'), ("broken", '{"samples": 3')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pool.json").write_text(content)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")

    def said(command, *words, code=2, store="never"):
        before = sorted(tmp_path.rglob("*"))
        found, told = run(*words, command=MODULES[command], store=store)
        assert found == code, told
        assert sorted(tmp_path.rglob("*")) == before
        assert "starting Ray" not in told
        return told

    return said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["none.jsonl", "--out", "out"], "none.jsonl: there is no such file or folder"),
        (["", "--out", "out"], "an input is an empty word"),
        (["gs://bucket/x.jsonl", "--out", "out"], "pip install 'winnow[cloud]'"),
        (["nosuch://bucket/x.jsonl", "--out", "out"], "Protocol not known: nosuch"),
        (["listed", "--out", "out"], "listed/pool.json is not of a pool that `winnow ingest` made"),
        (["broken", "--out", "out"], "broken/pool.json is not of a pool that `winnow ingest` made"),
        (["in.jsonl"], "say where to write: --out FOLDER"),
        (["in.jsonl", "--out", "file"], "/file is a file"),
        (["in.jsonl", "--out", "s3:/bucket/out"], "--out s3:/bucket/out: a URL has two slashes after the colon"),
        (["in.jsonl", "deft", "--out", "out"], "deft: there is no such file or folder; it is a recipe"),
        (["in.jsonl", "ldt", "--out", "out"], "ldt: there is no such file or folder; did you mean 'ltd'?"),
        (["in.jsonl", "--out", "file/out"], "--out file/out: nothing can be written there"),
        (["in.jsonl", "--out", "/proc/out"], "--out /proc/out: nothing can be written there"),
        (["in.jsonl", "--out", "o" * 300], "nothing can be written there: File name too long"),
        (["in.jsonl", "--out", "in.jsonl"], "--out in.jsonl"),
        (["in.jsonl", "--out", "gs://bucket/out"], "pip install 'winnow[cloud]'"),
        (["in.jsonl", "--out", ""], "--out is an empty word"),
        (["in.jsonl", "--out", "a::b"], "--out a::b: :: chains URLs, and a folder cannot have it in its name"),
        (["in.jsonl", "--out", "memory://out"], "--out memory://out: a place in memory is private to one process"),
        (["memory://in.jsonl", "--out", "out"], "the input memory://in.jsonl: a place in memory is private"),
        (["in.jsonl", "--out", "out", "--store", "memory://s"], "--store memory://s: a place in memory is private"),
        (["in.jsonl", "--out", "out", "--store", "file"], "--store file: nothing can be written there"),
        (["in.jsonl", "--out", "out", "--store", "/proc/store"], "--store /proc/store: nothing can be written there"),
        (["in.jsonl", "--out", "out", "--store", "gs://bucket/store"], "pip install 'winnow[cloud]'"),
        (["in.jsonl", "--out", "both", "--store", "both"], "--out both holds the store both"),
        (["in.jsonl", "--out", "both", "--store", "both/store"], "--out both holds the store both/store"),
        (["in.jsonl", "--out", "out", "--config", "binary"], "--config binary is not YAML"),
        (["in.jsonl", "--out", "out", "--config", "."], "--config .: Is a directory"),
        (["in.jsonl", "--out", "out", "--profile", "binary"], "profile binary is not YAML"),
        (["in.jsonl", "--out", "out", "--profile", "."], "profile .: Is a directory"),
        (["in.jsonl", "--out", "out", "--budget", "5"], "no option --budget. A field has no dashes: write budget=5"),
        (["in.jsonl", "--out", "out", "--embed.model.name=x"], "write embed.model.name=x"),
        (["in.jsonl", "--out", "o", "--decontaminate", "in.jsonl", "seed=5"], "takes seed=5 for a test set"),
        (["in.jsonl", "--ouput", "out"], "write ouput=out, or --out for that option"),
        (["-", "--out", "out"], "-: standard input and pipes can be read only once"),
        (["/dev/null", "--out", "out"], "/dev/null: standard input and pipes can be read only once"),
        (["in.jsonl", "--out", "out", "--config", "text.yaml"], "inputs is a text; write a list: inputs: [in.jsonl]"),
        (["task=a/part.jsonl", "--out", "out"], "tokens. "
         "Nor is there a file task=a/part.jsonl"),
    ],
)  # fmt: skip
def test_curate_refuses_a_wrong_place_before_it_starts_anything(refused, words, told):
    *words, store = words if "--store" in words else [*words, "--store", "never"]
    assert told in refused("curate", "at_random", *words[:-1], store=store)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_missing_input_and_an_out_that_cannot_be_written_together(refused, command):
    words = [word.replace("in.jsonl", "none.jsonl") for word in COMMANDS[command]]
    told = refused(command, *words, "--out", "file/out")
    assert "none.jsonl" in told
    assert "--out file/out: nothing can be written there" in told


def test_what_others_wrote_is_not_written_over(refused, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("x")
    for command in ("ingest", "curate"):
        told = refused(command, *COMMANDS[command], "--out", "full")
        assert "full is not empty and holds no" in told
        assert "give another --out" in told
    told = refused("evaluate", "model", "in.jsonl", "--out", "text.yaml")
    assert "--out text.yaml is there already and is no evaluation; give another --out" in told


@pytest.mark.parametrize("words", [["curate", "at_random"], ["compare", "at_random"], ["finetune", "base.name=model"]])
def test_how_to_read_raw_files_is_refused_with_a_pool(refused, words, tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "pool.json").write_text('{"samples": 3, "fingerprint": "f", "parts": []}')
    tiny_causal(tmp_path / "model", ["one"])
    told = refused(*words, "pool", "--out", "out", "--limit", "max_turns=9")
    assert "pool is a pool, which is ingested already: --columns" in told


def test_all_refusals_of_a_run_are_told_at_once_and_each_once(refused):
    told = refused(
        "curate", "less", "none.jsonl", "--out", "file", "target=gone.jsonl", "train.lora=none",
        "train.base.name=/no/model",
    )  # fmt: skip
    wanted = ["none.jsonl: there is no", "--out file: ", "target=gone.jsonl: ", "leave train.lora", "model /no/model"]
    assert told.count("error: ") == 5
    assert [told.count(each) for each in wanted] == [1] * 5


def test_models_alone_that_are_missing_are_all_named_and_exit_with_1(refused):
    told = refused(
        "curate", "lift", "in.jsonl", "--out", "out", "embed.model.name=/no/embedder",
        "rewrite.model.name=/no/rewriter", "respond.model.name=/no/rewriter", "judge.model.name=/no/judge", code=1,
    )  # fmt: skip
    assert told.count("error: ") == 3
    assert all(f"model /no/{name}" in told for name in ("embedder", "rewriter", "judge"))


@pytest.mark.parametrize(
    ("recipe", "overrides", "told"),
    [
        ("less", [], "LESS selects for a target"),
        ("less", ["target=gone.jsonl"], "target=gone.jsonl: there is no such file"),
        ("ltd", ["examples=gone.jsonl"], "examples=gone.jsonl: there is no such file"),
        ("deita", [], "comes without the prompt"),
        ("mods", ["budget=tokens:200k"], "MoDS takes a budget in samples or percent"),
        ("deft", ["budget=tokens:200k"], "DEFT takes a budget in samples or percent"),
        ("nlu_diet", ["budget=tokens:200k"], "NLUDiet takes a budget in samples or percent"),
        ("data_diet", ["keep=window"], "keep=window needs an offset"),
        ("alpagasus", ["judge.prompt.name=gone.txt"], "prompt gone.txt: no such file"),
        ("lift", ["rewrite.prompt.name=gone.txt"], "prompt gone.txt: no such file"),
        ("instructmining", ["rule=gone.json"], "rule=gone.json: it is neither v3 nor v1, nor a rule.json"),
    ],
)
def test_what_a_recipe_can_refuse_without_data_its_check_refuses(tmp_path, monkeypatch, recipe, overrides, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=told):
        build(recipe, Request(), overrides).check()


def test_a_recipe_and_an_input_in_the_other_order_are_told_in_theirs(refused):
    assert "the recipe comes first: " in refused("curate", "in.jsonl", "at_random", "--out", "out")
    assert "curate RECIPE in.jsonl. There are: alpagasus" in refused("curate", "in.jsonl", "--out", "out")


def test_a_field_with_dashes_is_told_by_every_command_that_has_fields(refused):
    for command in COMMANDS.keys() - {"ingest", "curate"}:
        assert "write seed=5" in refused(command, *COMMANDS[command], "--out", "out", "--seed", "5")
    assert "write budget=5" in refused("doctor", "ltd", "--budget", "5")


def test_a_missing_embedder_is_told_that_the_default_one_is_there(refused):
    words = ["curate", "ltd", "in.jsonl", "--out", "out"]
    told = refused(*words, "embed.model.name=/no/embedder", code=1)
    assert "The default model needs no download: leave model.name out" in told


def test_a_plan_refuses_what_the_run_would(refused):
    assert "LESS selects for a target" in refused("curate", "less", "in.jsonl", "--plan")
    assert "none.jsonl: there is no such" in refused("curate", "at_random", "none.jsonl", "--plan")


def test_doctor_tells_a_wrong_recipe_before_it_starts_ray_and_a_wrong_combination_in_its_table(refused, run):
    assert "did you mean 'ltd'" in refused("doctor", "ldt")
    assert "profile binary is not YAML" in refused("doctor", "--profile", "binary")
    assert "--store /proc/s: nothing can be written there" in refused("doctor", "--store", "/proc/s")


@pytest.mark.parametrize("facts", ["[]", "{}", '{"declaration": 3}', "{"])
def test_evaluate_refuses_a_model_whose_training_is_not_told(refused, tmp_path, facts):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/training.json").write_text(facts)
    assert "model/training.json" in refused("evaluate", "model", "in.jsonl")
    (tmp_path / "model/training.json").unlink()
    (tmp_path / "model/adapter_config.json").write_text("{}")
    assert "does not name the model" in refused("evaluate", "model", "in.jsonl")


@pytest.mark.parametrize("content", [b"[]", b"a: [", b"\xff\xfe", b"3"])
def test_a_folder_with_a_manifest_that_is_none_is_told(refused, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.yaml").write_bytes(content)
    assert "out/manifest.yaml" in refused("explain", "out", "1")
    assert "out/manifest.yaml" in refused("curate", "at_random", "in.jsonl", "--out", "out")


def test_a_submitted_job_is_not_let_write_where_ray_throws_it_away(tmp_path, monkeypatch):
    package = tmp_path / "session/runtime_resources/working_dir_files/_ray_pkg_1"
    package.mkdir(parents=True)
    monkeypatch.chdir(package)
    assert store_at(None).url == str(package / ".winnow")
    monkeypatch.setenv(SUBMITTED, json.dumps({}))
    for refuses in (
        lambda: store_at(None), lambda: store_at("store"), lambda: store_at(str(package / "store")),
        lambda: out_folder(str(package / "out")), lambda: out_folder("out"), lambda: out_pool("pool"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="a submitted job runs in a copy of its working directory"):
            refuses()
    assert store_at(str(tmp_path / "store")).url == str(tmp_path / "store")
    assert out_folder(str(tmp_path / "out")).url == str(tmp_path / "out")


def test_a_glob_or_a_path_with_an_equals_sign_that_is_there_is_no_field(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for language in ("en", "zh"):
        (tmp_path / f"language={language}.part").mkdir()
        jsonl(tmp_path / f"language={language}.part/0.jsonl", records(1))
    words = [
        "language=*/0.jsonl",
        "language=en.part/0.jsonl",
        "budget=5",
        "embed.text={instruction} [*]",
        "language=xx",
    ]
    assert fields_and_others(words) == (words[2:], words[:2])
    long = "complexity.template=" + 400 * "long "
    assert fields_and_others([long]) == ([long], [])


@pytest.mark.fault(
    "a cluster has other versions, or an upload is too large",
    how="an address at which nothing listens",
    holds="one line within seconds",
)
def test_a_cluster_that_is_not_there_is_told_in_one_line_and_within_seconds():
    script = "from jobs.engine.execute.session import _join; _join('127.0.0.1:9')"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=False, timeout=60)
    assert "WinnowError: RAY_ADDRESS=127.0.0.1:9: no Ray cluster can be reached there" in done.stderr
    with pytest.raises(WinnowError, match=r"RAY_ADDRESS=http://127\.0\.0\.1:9: no Ray cluster"):
        _join("http://127.0.0.1:9")


STALE = """
import sys
from jobs.engine.terminal.program import exit_code


def main():
    import ray
    from ray._private import services
    from ray.exceptions import RaySystemError
    from jobs.engine.execute.session import Session, _join
    from jobs.engine.pool.pool import Pool
    from jobs.engine.store.store import Store
    from jobs.engine.terminal.errors import WinnowError

    search, services.find_gcs_addresses = services.find_gcs_addresses, frozenset  # as if no other head ran here
    for name in ("127.0.0.1:9", "127.0.0.1:265012"):
        open("{folder}/ray/ray_current_cluster", "w").write(name)
        try:
            _join("auto")
        except WinnowError as error:
            print(error)
    services.find_gcs_addresses = search
    try:
        ray.put(1)
    except RaySystemError:
        print("not joined", flush=True)
    assert Pool.of(["{file}"], Session(Store("{folder}/store"))).samples == 3
    return 0


sys.exit(exit_code(main))
"""


@pytest.mark.fault(
    "Ray's file of the last cluster names a head that is gone",
    how="such a file in a folder for temporary files, with RAY_ADDRESS=auto and without RAY_ADDRESS",
    holds="one line within seconds; without RAY_ADDRESS nothing looks at it, and Ray is started on this machine",
)
def test_the_file_of_a_cluster_that_is_gone_makes_nothing_wait(tmp_path):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the paths of Ray's sockets may not be long
        Path(folder, "ray").mkdir()
        script = STALE.format(folder=folder, file=jsonl(tmp_path / "in.jsonl", records(3)))
        done = subprocess.run(
            [sys.executable, "-c", script],
            text=True,
            capture_output=True,
            check=False,
            timeout=90,
            env=os.environ | {"RAY_TMPDIR": folder},
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("RAY_ADDRESS=auto: no Ray cluster can be reached")] == lines[:2]
    assert lines[2:4] == ["not joined", "starting Ray on this machine ..."]


@pytest.mark.fault(
    "Ray does not start in time",
    how="a start that times out and leaves a process",
    holds="a second attempt after the process is ended; a second failure is one line",
)
def test_ray_is_started_once_more_where_the_machine_was_too_slow_and_what_is_left_is_ended():
    # In a process of its own: it would end the Ray of the other tests.
    script = "from tests.jobs.engine.command.test_refusals import _start_and_look; _start_and_look()"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def _start_and_look():
    started = []

    def slow():
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]))
        if len(started) == 1:
            raise Exception(f"The current node {TOO_SLOW}. This could happen")

    _start_twice(slow, pause=0.1)
    assert started[0].wait(timeout=10) != 0
    assert started[1].poll() is None
    started[1].kill()
    with pytest.raises(WinnowError, match="Ray did not start on this machine: The current node timed out"):
        _start_twice(_always_slow, pause=0.1)
    with pytest.raises(WinnowError, match="Ray did not start on this machine: no room"):
        _start_twice(_never, pause=100.0)


def _always_slow():
    raise Exception(f"The current node {TOO_SLOW}.\nAnd so on")


def _never():
    raise ValueError("no room")
