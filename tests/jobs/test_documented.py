"""The commands that README.md and docs/ show: each has the options and the fields that it names."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from jobs import curate
from jobs.engine.command.config import build, configured
from jobs.engine.terminal.arguments import parsed, words_of
from jobs.engine.terminal.modules import commands
from jobs.engine.terminal.program import fields_and_others
from jobs.methods.evolution.declaration import evolution
from jobs.methods.instructmining.rule_fitting import RuleFit
from jobs.methods.scorer_training import ScorerTraining
from operators.training.finetune import Finetune

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
MODULES = sorted(set(commands()) - {"demo", "explain", "recipes"})
FIELDS = {"finetune": Finetune, "fit_rule": RuleFit, "train_scorer": ScorerTraining}


def shown(file: Path) -> list[list[str]]:
    """The words of each line that calls the program."""
    lines = [line for block in BLOCK.findall(file.read_text()) for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("winnow ")]


@pytest.mark.parametrize("file", ["README.md", *(f"docs/{each.name}" for each in sorted((ROOT / "docs").glob("*.md")))])
def test_every_command_that_is_shown_has_its_options_and_fields(file):
    for words in shown(ROOT / file):
        if words[0] == "submit":
            words = words[words.index("--") + 1 :]
        name, given = words[0].replace("-", "_"), words_of(words[1:])
        if name not in MODULES or "RECIPE" in given:
            continue
        options = parsed(importlib.import_module(f"jobs.{name}").arguments(), given)
        if name == "curate" and options.config is None:
            request, overrides = curate.asked(options)
            build(request.recipe or "", request, overrides)
        elif name in FIELDS:
            configured(FIELDS[name], {}, fields_and_others(options.words)[0])
        elif name == "evolve":
            evolution(options.dimension, fields_and_others(options.words)[0])
