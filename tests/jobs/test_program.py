"""The program `winnow`, and the help texts of its commands."""

import os
import re
import subprocess
import sys
from importlib import metadata

import pytest
from rich.console import Console

from jobs import __main__ as program
from jobs.engine.terminal import screen
from jobs.engine.terminal.modules import JOBS, commands, recipe_names
from jobs.engine.terminal.program import program as program_name
from jobs.engine.terminal.screen import say, show, show_texts
from jobs.recipes.__main__ import main as list_recipes

HEAVY = {"numpy", "pandas", "pyarrow", "pydantic", "ray", "torch", "transformers"}


def winnow(monkeypatch, capsys, *words):
    """What the program returns and prints for these words."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/winnow", *words])
    code = program.main()
    return code, capsys.readouterr().out


def test_every_file_that_is_run_is_a_command():
    named = {
        "curate",
        "demo",
        "doctor",
        "evaluate",
        "evolve",
        "explain",
        "finetune",
        "ingest",
        "recipes",
        "submit",
        "check_cluster",
    }
    assert named <= set(commands())
    assert {path.stem for path in JOBS.glob("*.py")} - set(commands()) == {"__init__", "__main__"}
    assert not {"engine", "__main__"} & set(commands())


def test_the_overview_has_a_line_for_each_command(monkeypatch, capsys):
    code, said = winnow(monkeypatch, capsys, "--help")
    assert code == 0
    assert "explain        Why one sample was kept or dropped." in said
    assert [name for name in commands() if f"\n  {name} " not in said] == []
    assert winnow(monkeypatch, capsys) == (2, said)
    code, said = winnow(monkeypatch, capsys, "--version")
    assert (code, said.strip()) == (0, f"winnow {metadata.version('winnow')}")


def test_a_terminal_shows_the_overview_within_its_width(monkeypatch):
    monkeypatch.setattr(screen, "CONSOLE", Console(force_terminal=True, width=80))
    lines = program.overview().splitlines()
    assert max(map(len, lines)) <= 80
    names = {line.split()[0] for line in lines[2:-2] if line.startswith("  ") and line[2] != " "}
    assert names == set(commands())


def test_an_unknown_command_is_refused_with_the_nearest_name(monkeypatch, capsys):
    code, said = winnow(monkeypatch, capsys, "currate", "ltd")
    assert code == 2
    assert "no command 'currate'; did you mean 'curate'? There are: check_cluster, c" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *((name, "") for name in sorted(set(commands()) - {"demo", "doctor", "recipes"})),  # these need no words
        ("curate LTD in.jsonl", "no recipe 'LTD'; did you mean 'ltd'? There are:"),
        ("ltd in.jsonl", "ltd is a recipe: winnow curate ltd in.jsonl"),
        ("ingest in.jsonl --out p --colums a=b", "did you mean --columns? `winnow ingest --help` describes"),
        ("ingest in.jsonl --out p --max-unreadable most", "most is not a share, such as 0.05 or 5%"),
        ("submit --adress http://h -- curate ltd", "unrecognized arguments: --adress; did you mean --address?"),
        ("train_scorer in.jsonl --out s --epochs 3", "there is no option --epochs. A field has no dashes"),
    ],
)
def test_what_is_typed_wrong_is_answered_in_one_line(monkeypatch, capsys, words, message):
    monkeypatch.setenv("PATH", "/somewhere/bin")
    monkeypatch.setattr("shutil.which", lambda _: "/somewhere/bin/winnow")
    code, said = winnow(monkeypatch, capsys, *words.split())
    assert (code, said.count("\n"), message in said) == (2, 1, True), said


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        ("curate ldt in.jsonl", HEAVY),
        ("curate ltd in.jsonl --out o bugdet=5%", {"torch", "transformers", "pandas", "ray.data"}),
    ],
)
def test_a_slip_waits_for_no_import(words, unwanted, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobs", *words.split()], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, "did you mean" in done.stdout) == (2, True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & unwanted


def test_a_terminal_without_the_letters_of_a_text_shows_their_numbers():
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "curate", "数据"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, "no recipe '\\u6570\\u636e'" in done.stdout, done.stderr) == (2, True, "")


def test_no_text_of_a_record_commands_the_terminal(capsys):
    say("a\tb\nc\x1b]0;title\x07 \x9b2J \u202eabc 问\u200d")
    show("", ["file"], [["a\x1b[2J.jsonl"]])
    show_texts(["name"], [[["b\x1b[2J"]]])
    shown = capsys.readouterr().out
    assert "b\nc\\x1b]0;title\\x07 \\x9b2J \\u202eabc 问\u200d\n" in shown
    assert "a\\x1b[2J.jsonl" in shown
    assert "b\\x1b[2J" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", ["train_scorer", "train-scorer"])
def test_a_command_is_called_with_its_words_and_its_name(monkeypatch, capsys, name):
    code, said = winnow(monkeypatch, capsys, name, "a.jsonl", "b.jsonl", "--out", "o")
    assert code == 2
    assert "winnow train_scorer PAIRS.jsonl --out FOLDER" in said


def test_the_program_is_named_with_its_folder_where_it_is_not_in_the_path(monkeypatch, tmp_path):
    script = tmp_path / "winnow"
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program_name("explain") == f"{script} explain"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program_name("explain") == "winnow explain"


@pytest.mark.parametrize("name", commands())
@pytest.mark.parametrize("module", [True, False], ids=["python -m", "winnow"])
def test_a_help_text_names_the_program_that_was_typed_and_imports_nothing_heavy(name, module):
    typed = ["-m", f"jobs.{name}"] if module else ["-c", "import sys; from jobs.__main__ import main; sys.exit(main())"]
    words = ["--help"] if module else [name, "--help"]
    if not module:
        typed[1] = "import sys; sys.argv[0] = '/bin/winnow'; " + typed[1]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *typed, *words],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": "/nowhere"},
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & HEAVY
    expected = f"python -m jobs.{name}" if module else f"/bin/winnow {name}"
    assert re.match(rf"usage: {re.escape(expected)}\s", done.stdout)


def test_recipes_are_listed_with_their_papers_and_needs(capsys):
    assert list_recipes([]) == 0
    entries = re.split(r"\n(?=\S)", capsys.readouterr().out.strip())
    said = {entry.split()[0]: entry for entry in entries[:-1]}
    assert list(said) == recipe_names()
    assert "arXiv 2305.09246" in said["ltd"]
    assert "needs" not in said["ltd"] + said["longest"] + said["at_random"]
    assert "judge.model, a language model that is asked by vLLM or at judge.endpoint=URL" in said["alpagasus"]
    assert said["lift"].count("asked by vLLM") == 3
    assert said["deita"].count("a scorer model") == 2
    assert "a reward model (OpenAssistant/" in said["mods"]
    assert "a HiddenState model (" in said["rds"]
    assert "vLLM" in said["mods"]
    assert "needs target=FILE" in said["less"]
    assert "a model to train (" in said["less"]
    assert "records with train.labels (label=intent, slots=slots)" in said["nlu_diet"]
