"""The options that commands share, as every command takes them."""

import subprocess
import sys

import pytest

from jobs import curate, doctor, evaluate, evolve, finetune, ingest, train_scorer
from jobs.engine.command.config import Request, build, reading
from jobs.engine.ingest import settings_of
from jobs.engine.terminal.arguments import reading_given, reading_options, words_of
from jobs.engine.terminal.errors import UsageError


def parsed(*words):
    return reading_given(reading_options().parse_args(words_of(words)))


@pytest.mark.parametrize(
    "words",
    [
        ["--columns", "instruction=a, b,response=c"],
        ["--columns", "instruction=a, b", "response=c"],
        ["--columns=instruction=a, b,response=c"],
    ],
)
def test_columns_are_one_word_or_several(words):
    assert parsed(*words) == {"columns": {"instruction": "a, b", "response": "c"}}


def test_options_make_the_settings_of_an_ingest_and_say_nothing_where_they_are_not_given():
    assert parsed() == {}
    given = parsed(
        "--limit", "max_turns=5,max_nesting=100", "--ignore", "round,reviewer", "--keep-unanswered", "--pairs", "both"
    )
    settings = settings_of(given)
    assert (settings.max_turns, settings.max_nesting, settings.max_expansion) == (5, 100, 200)
    assert {"round", "reviewer", "id"} <= settings.bookkeeping
    assert (settings.answers, settings.pairs) == ("optional", "both")


def test_options_for_what_is_left_out_take_shares_percentages_and_numbers_for_any_name(tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text('{"question": "q"}\n')
    given = parsed(
        "--mix", "lang=de/a.jsonl=0.3", "b=12.5%", "--mix", "c,d=6,000", "--mix-seed", "4", "--ngram", "8",
        "--near-duplicates", "0.9", "--decontaminate", str(test),
    )  # fmt: skip
    settings = settings_of(given)
    assert settings.mix == {"lang=de/a.jsonl": 0.3, "b": 0.125, "c,d": 6000}
    assert (settings.mix_seed, settings.ngram, settings.near_duplicates) == (4, 8, 0.9)
    assert settings.decontaminate == (str(test),)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mix", "a"], "--mix a: it is not SOURCE=SHARE"),
        (["--mix", "a=1", "a=2"], "a is named twice"),
        (["--mix", "a=0,5"], "write a share, as 0.3 or 30%, or a whole number of samples, as 5000"),
        (
            ["--columns", "question=a"],
            "no such role: 'question'; the roles are instruction, input, response, reasoning",
        ),
        (["--columns", "instruction=a"], "but not response"),
        (["--columns", "instruction"], "'instruction' is not NAME=VALUE"),
        (["--columns", "instruction=a,instruction=b,response=c"], "instruction is named twice"),
        (["--limit", "turns=5"], "no such limit; there are max_record_bytes, max_turns, max_nesting, max_expansion"),
        (["--limit", "max_turns=many"], "'many' is not a whole number"),
        (["--limit", "max_turns=0"], "max_turns: a limit is at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(words, message):
    with pytest.raises(UsageError, match=message):
        settings_of(parsed(*words))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (ingest, ["f.jsonl", "--out", "o"]),
        (curate, ["at_random", "f.jsonl", "--out", "o", "budget=3"]),
        (finetune, ["f.jsonl", "--out", "o", "base.name=x"]),
        (evaluate, ["model", "f.jsonl", "template=alpaca"]),
        (evolve, ["quality", "f.jsonl", "--out", "o", "seeds=3"]),
    ],
)
def test_every_command_that_reads_raw_files_takes_them_anywhere(command, words):
    for place in (1, len(words)):
        line = [*words[:place], "--columns", "instruction=q", "response=a", *words[place:], "--max-unreadable", "0.5"]
        parser = command.arguments()
        options = (parser.parse_args if command is ingest else parser.parse_intermixed_args)(words_of(line))
        assert reading_given(options) == {"columns": {"instruction": "q", "response": "a"}}
        assert options.max_unreadable == 0.5
    assert ingest.arguments().parse_args(["f", "--out", "o", "--max-unreadable", "2.5%"]).max_unreadable == 0.025


@pytest.mark.parametrize("option", ["--store", "--profile", "--columns", "--max-unreadable"])
def test_an_option_has_one_help_text_in_all_commands(option):
    commands = (curate, doctor, evaluate, evolve, finetune, ingest, train_scorer)
    actions = [action for command in commands for action in command.arguments()._actions]
    found = [(action.metavar, action.help) for action in actions if option in action.option_strings]
    assert len(found) >= 5
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("recipe", "fields", "expected"),
    [
        ("ltd", [], "needed"),
        ("nlu_diet", [], "optional"),
        ("data_diet", [], "needed"),
        ("data_diet", ["train.labels.label=kind", "trained=[/a]"], "optional"),
    ],
)
def test_answers_are_needed_unless_labels_are_learnt_or_the_user_says_otherwise(recipe, fields, expected):
    assert reading(Request(), build(recipe, Request(), fields)).answers == expected
    for said in ("needed", "optional"):
        request = Request(reading={"answers": said})
        assert reading(request, build(recipe, request, fields)).answers == said


def test_the_options_are_parsed_without_anything_heavy():
    heavy = "{'pydantic', 'ray', 'pyarrow', 'numpy'} & set(sys.modules)"
    code = f"import sys, jobs.engine.terminal.arguments; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)
