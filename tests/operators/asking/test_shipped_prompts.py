"""The prompts that come with Winnow."""

import re

import pytest

from operators.asking.prompt import FOLDER, Prompt, control_tokens

SHIPPED = sorted(path.stem for path in FOLDER.glob("*.txt"))


LISTS = ("variants",)


SETTINGS = {"dimension": "accuracy", "lowest": 0, "highest": 5}


def shipped(name: str, text: str) -> list:
    """The messages of a prompt that comes with Winnow, every sample text being this one."""
    read = Prompt(name).template()
    texts = {field: [text, f"{text}!"] if field in LISTS else text for field in read.names - SETTINGS.keys()}
    return read.messages(texts, SETTINGS)


def mark_of(content: str) -> str:
    found = set(re.findall(r"^=== \S+ ([0-9a-f]{12}) ===$", content, re.MULTILINE))
    assert len(found) == 1
    return found.pop()


def test_shipped_prompts_are_there_and_take_their_texts():
    takes = {
        "alpagasus": {"instruction", "input", "response"},
        "lift_judge": {"instruction", "input", "response"},
        "lift_rewrite_code": {"instruction", "input"},
        "lift_rewrite_general": {"instruction", "input"},
        "deita_rank_complexity": {"variants"},
        "deita_rank_quality": {"instruction", "variants"},
    }
    ways = ("constraint", "deepen", "concretise", "reasoning")
    takes |= {f"deita_complexity_{way}": {"instruction"} for way in ways}
    kinds = ("helpfulness", "relevance", "depth", "creativity", "detail")
    takes |= {f"deita_quality_{kind}": {"instruction", "response"} for kind in kinds}
    assert sorted(takes) == SHIPPED
    for name, texts in takes.items():
        settings = SETTINGS if name == "alpagasus" else ()
        Prompt(name).template().check(texts, settings)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_prompts_differ_between_samples_from_the_mark_on(name):
    one, other = shipped(name, "Name three colors."), shipped(name, "Nenne drei Farben.")
    assert one[:-1] == other[:-1]
    first, second = one[-1]["content"], other[-1]["content"]
    mark = mark_of(first)
    rubric = first[: first.index(mark)]
    assert second.startswith(rubric + mark_of(second))
    before_block = first[first.index(mark) : first.index("\n=== ")]
    assert len(before_block) < 400  # nothing but what the mark is for; the rubric came before
    after = first[first.rindex(mark) :].split("\n", 1)[1]
    assert len(after.split()) > 15  # the instruction once more


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_prompts_read_cleanly(name):
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert control_tokens(text) == []


def test_lift_judge_examples_add_up():
    content = shipped("lift_judge", "x")[-1]["content"]
    totals = [int(found) for found in re.findall(r"^Grade:\n(\d+)$", content, re.MULTILINE)]
    parts = re.findall(
        r"^Clarity (\d+):.*Difficulty (\d+):.*Explanation (\d+):.*Accuracy (\d+):", content, re.MULTILINE
    )
    assert [sum(map(int, part)) for part in parts] == totals
    assert len(totals) == 3
    assert all(int(score) <= most for part in parts for score, most in zip(part, (15, 25, 25, 35), strict=True))
