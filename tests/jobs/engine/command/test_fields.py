"""The table of a recipe's fields."""

import os
import re
import subprocess
import sys

import pytest

from jobs.engine.command.config import Request, build
from jobs.engine.command.fields import docstrings, groups
from jobs.engine.recipe import Recipe
from jobs.engine.terminal.modules import recipe_names
from jobs.recipes.deita import DEITA
from operators.embedding.embed import Embed
from operators.training.finetune import Finetune

ANSI = re.compile(r"\x1b\[[0-9;]*m")
KEEPS = docstrings(DEITA)["budget"]
FOLLOWS = docstrings(Recipe)["seed"]


def listed(*words, **environment):
    """What `winnow curate` prints for a recipe without inputs, in a process of its own; and the modules it imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobs.curate", *words],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={key: value for key, value in os.environ.items() if key != "COLUMNS"} | environment,
    )
    assert done.returncode == 2
    assert "name what to curate" in done.stdout
    return done.stdout, {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_in_a_pipe_each_field_is_one_line_without_codes_and_nothing_heavy_is_imported():
    said, imported = listed("deita", "threshold=0.8")
    assert not ANSI.search(said)
    assert said.startswith("DEITA: What Makes Good Data for Alignment? (Liu et al. 2024, ICLR, arXiv 2312.15685).\n")
    rows = [re.split(r" {2,}", line.strip()) for line in said.splitlines()]
    assert ["budget", "2%", KEEPS] in rows
    assert ["seed", "0", FOLLOWS] in rows
    assert ["threshold", "0.8"] in [row[:2] for row in rows]
    assert ["complexity.model.name", "hkust-nlp/deita-complexity-scorer"] in rows
    assert not {"torch", "transformers"} & imported


def test_a_terminal_of_80_columns_wraps_the_texts_and_loses_none():
    said, _ = listed("deita", FORCE_COLOR="1", COLUMNS="80")
    lines = ANSI.sub("", said).splitlines()[3:]
    assert max(map(len, lines)) == 80
    meaning = next(line.index("meaning") for line in lines if line.split() == ["field", "value", "meaning"])
    budget = next(number for number, line in enumerate(lines) if line.split()[:1] == ["budget"])
    seed = next(number for number, line in enumerate(lines) if line.split()[:1] == ["seed"])
    assert " ".join(line[meaning:].strip() for line in lines[budget:seed]) == KEEPS
    assert any(line.startswith(" complexity.model.revision ") for line in lines)


@pytest.mark.parametrize("name", recipe_names())
def test_every_field_that_can_be_set_is_listed_once_with_a_value_that_can_be_typed(name):
    recipe = build(name, Request(), [])
    own, *nested = groups(recipe)
    assert [row[0] for row in own] == list(vars(recipe))
    rows = [row for group in [own, *nested] for row in group]
    assert len({row[0] for row in rows}) == len(rows)
    for group in nested:
        assert len({row[0].partition(".")[0] for row in group}) == 1
    # A field of a declaration that is none by default cannot be set alone, so only the others are typed again.
    absent = tuple(f"{field}." for field, value, _ in rows if value == "none")
    typed = [
        f"{field}={value}"
        for field, value, _ in rows
        if not field.startswith(absent) and not any(other.startswith(f"{field}.") for other, _, _ in rows)
    ]
    assert build(name, Request(), typed) == recipe


def test_docstrings_of_fields_are_inherited_and_a_class_s_own_win():
    assert docstrings(DEITA)["seed"] == FOLLOWS != ""
    assert docstrings(DEITA)["budget"].startswith("2 %")
    assert docstrings(Recipe)["budget"].startswith("How many")
    assert docstrings(Embed)["text"].startswith("The text, with {instruction}")
    assert docstrings(Finetune)["batch"].count("\n") == 0
    assert "version" not in docstrings(DEITA)
