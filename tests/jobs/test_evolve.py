"""The evolution of seeds into training pairs, with a scripted server in the place of rewriter and judge."""

import json
import re

import pytest
import yaml

from jobs import evolve
from jobs.engine.terminal.errors import UsageError
from jobs.methods.evolution import evolution
from operators.asking.evolve import Compare, Evolve, first_chain, flag, longer_chain
from operators.asking.language_model import Answer
from tests.jobs.corpora import jsonl
from tests.servers import failed, prompt, served
from tests.servers import said as answered_with

BLOCK = re.compile(r"^=== (\w+) [0-9a-f]{12} ===\n(.*?)\n=== end of", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^=== \[(\d+)\] [0-9a-f]{12} ===\n(.*?)\n=== end of", re.MULTILINE | re.DOTALL)
REFUSAL = "I'm sorry, but I can't help with that."

SEEDS = ["Plain", "Preamble", "Missing", "Garbage", "Empties", "Refuses", "Flat", "Later", "Fails", "北京有什么特色？"]


def conversation(*contents: str) -> list[dict]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]


def answered(text: str, finished: bool = True) -> Answer:
    return Answer(text, finished, cut=False, masses={})


class Model:
    """Rewrites by adding a word, and rates a variant by how often it has been added; each seed in its own way."""

    def __init__(self):
        self.comparisons: list[list[str]] = []
        """The variants in the order in which they were shown, for each comparison."""

    def __call__(self, request):
        asked = prompt(request)
        shown = SHOWN.findall(asked)
        if shown:
            self.comparisons.append([text for _, text in shown])
            return self.rating([(number, 1 + text.count("more")) for number, text in shown], asked)
        return self.rewriting(BLOCK.findall(asked)[-1][1])

    def rewriting(self, text):
        if text.startswith("Fails"):
            return failed(400)
        if text.startswith(("Refuses", REFUSAL)):
            return REFUSAL
        if text.startswith("北"):
            return "What is there to see in Beijing and why does it matter so much? more"
        return "" if text.startswith("Empties") else f"{text} more"

    def rating(self, scores, asked):
        if "Garbage" in asked:
            return "They are all very nice questions, 5 stars."
        if "Flat" in asked:
            scores = [(number, 3) for number, _ in scores]
        if "Missing" in asked or ("Later" in asked and sum("Later" in "".join(each) for each in self.comparisons) < 2):
            scores = [(number, score) for number, score in scores if score != 2]
        lead = "Here is what I think of them:\n\n" if "Preamble" in asked else ""
        return lead + "\n".join(f"[{number}] Score: {score}" for number, score in scores)


@pytest.mark.usefixtures("ray_session")
def test_chains_are_rated_together_and_every_seed_is_accounted_for(run, tmp_path):
    rows = [{"instruction": text, "output": "An answer."} for text in SEEDS]
    rows += [{"instruction": "Plain", "output": "Another answer."}, {"instruction": " ", "output": "To nothing."}]
    jsonl(tmp_path / "in.jsonl", rows)
    model = Model()
    with served(model) as server:
        words = ["complexity", "in.jsonl", "--out", "out", "steps=4", "max_errors=0.2"]
        words += [
            f"{who}.{field}" for who in ("rewriter", "judge") for field in (f"endpoint={server.url}", "model.name=m")
        ]
        code, said = run(*words, command=evolve)
        assert code == 0, said
        asked = len(server.requests)
        again, _ = run(*words, command=evolve)
        assert again == 0
        assert len(server.requests) == asked
    pairs = [json.loads(line) for line in (tmp_path / "out/pairs.jsonl").open()]
    scores = {
        text: {pair["step"]: pair["score"] for pair in pairs if pair["seed"] == seed} for seed, text in enumerate(SEEDS)
    }
    climbing = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}
    assert scores["Plain"] == scores["Preamble"] == scores["Later"] == climbing
    assert scores["Missing"] == {0: 1, 2: 3, 3: 4, 4: 5}
    assert scores["Flat"] == dict.fromkeys(range(5), 3)
    assert [scores[text] for text in ("Garbage", "Empties", "Fails")] == [{}, {}, {}]
    assert {pair["flat"] for pair in pairs if pair["instruction"].startswith("Flat")} == {True}
    outcomes = {text: [pair["outcome"] for pair in pairs if pair["seed"] == SEEDS.index(text)] for text in SEEDS}
    assert outcomes["Plain"] == [""] * 5
    assert outcomes["Refuses"] == ["", "refused", "unchanged", "unchanged", "unchanged"]
    assert outcomes[SEEDS[-1]][:2] == ["", "other_script"]
    plain = [pair for pair in pairs if pair["seed"] == 0]
    assert [pair["instruction"] for pair in plain] == ["Plain" + " more" * step for step in range(5)]
    assert (plain[0]["source"], plain[0]["line"], plain[0]["method"]) == ("in.jsonl", 1, "")
    assert {pair["method"] for pair in pairs} >= {"", "constraint", "deepen", "concretise", "reasoning"}
    # Each comparison is a shuffle, and one that is asked again is another.
    assert any(shown != sorted(shown, key=len) for shown in model.comparisons)
    assert len({tuple(shown) for shown in model.comparisons if "Missing" in shown}) == 3

    manifest = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())
    assert manifest["counts"] == {
        "samples": 12, "drawn": 12, "unusable": 1, "repeated": 1, "pairs": len(pairs),
        "seeds": {"keep": 4, "too_short": 2, "drop_variants": 1, "drop_seed": 1, "flat": 2},
    }  # fmt: skip
    assert manifest["steps"][0]["outcomes"] == {"good": 6, "empty": 1, "refused": 1, "failed": 1, "other_script": 1}
    assert [step["made"] for step in manifest["steps"]] == [8, 8, 8, 8]
    assert [(each["asked"], each["to_ask_again"]) for each in manifest["attempts"]] == [(8, 3), (3, 2), (2, 0)]
    assert sum(manifest["variants"].values()) == 5 * 8


@pytest.mark.usefixtures("ray_session")
def test_quality_evolves_the_first_response_and_seeds_are_drawn(run, tmp_path):
    rows = [
        {"conversations": [{"from": who, "value": f"{text} {i}"} for who, text in
                           (("human", "Say"), ("gpt", "Said"), ("human", "Go on"), ("gpt", "No"))]}
        for i in range(9)
    ]  # fmt: skip
    jsonl(tmp_path / "in.jsonl", rows)
    with served(Model()) as server:
        words = [
            f"{who}.{field}" for who in ("rewriter", "judge") for field in (f"endpoint={server.url}", "model.name=m")
        ]
        code, said = run("quality", "in.jsonl", "--out", "out", "steps=1", "seeds=4", *words, command=evolve)
        assert code == 0, said
        assert len(server.requests) == 8
        code, said = run("quality", "in.jsonl", "--out", "out", "steps=1", "seeds=5", *words, command=evolve)
        assert code == 2
        assert "out holds another run (seeds 4 there, 5 now)" in said
    pairs = [json.loads(line) for line in (tmp_path / "out/pairs.jsonl").open()]
    assert len({pair["seed"] for pair in pairs}) == 4
    assert [(p["instruction"].replace("Say", "Said"), p["score"]) for p in pairs] == [
        (p["response"].removesuffix(" more"), 1 + p["step"]) for p in pairs
    ]


@pytest.mark.usefixtures("ray_session")
def test_a_judge_or_a_rewriter_that_says_nothing_of_use_ends_the_run(run, tmp_path):
    jsonl(tmp_path / "in.jsonl", [{"instruction": f"Plain {i}", "output": "An answer."} for i in range(8)])
    jsonl(tmp_path / "many.jsonl", [{"instruction": f"Plainer {i}", "output": "An answer."} for i in range(40)])

    def answers(request):
        shown = SHOWN.findall(prompt(request))
        if len(shown) == 3 and not any("Plain 0" in text for _, text in shown):
            return "They are all very nice."
        return Model()(request)

    def ran(file, out, *words):
        who = [
            f"{who}.{field}" for who in ("rewriter", "judge") for field in (f"endpoint={server.url}", "model.name=m")
        ]
        return run("complexity", file, "--out", out, *who, "--store", "own", *words, command=evolve)

    with served(answers) as server:
        code, printed = ran("in.jsonl", "a", "steps=2")
        assert code == 3
        assert "judge: 7 of 8 replies are of no use, more than max_unrated=0.2 allows: missing 7." in printed
        assert "missing: They are all very nice." in printed
        assert ran("in.jsonl", "a", "steps=2", "max_unrated=0.9")[0] == 0
    with served(lambda request: answered_with("<think>well", "length")) as server:
        code, printed = ran("in.jsonl", "b", "steps=1", "rewriter.seed=1")
        assert code == 3
        assert "rewriter: 8 of 8 replies are of no use, more than max_lost=0.5 allows: unfinished 8." in printed
        assert "set rewriter.max_tokens=4096" in printed
        server.requests.clear()
        code, printed = ran("many.jsonl", "c", "steps=1", "rewriter.concurrency=1")
        assert code == 3
        assert "rewriter: all of the first 20 replies were cut at 1,024 tokens" in printed
        assert "set rewriter.max_tokens=4096" in printed
        assert len(server.requests) < 30


def test_a_wrong_field_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"unknown field 'judge.endpont'; did you mean 'endpoint'\?"):
        evolution("quality", ["judge.endpont=x"])
    with pytest.raises(UsageError, match="steps"):
        evolution("quality", ["steps=0"])
    wanted = evolution("quality", ["rewriter.temperature=0.9", "judge.seed=7"])
    assert (wanted.rewriting(2).temperature, wanted.rewriting(2).max_tokens, wanted.comparison(1).seed) == (
        0.9,
        1024,
        7,
    )


def test_a_chain_begins_with_the_first_turn_and_needs_the_texts_of_its_dimension():
    messages = [{"role": "system", "content": "Be kind."}, *conversation("Why?", "Because.", "And?", "So.")]
    assert first_chain(messages, "complexity") == conversation("Why?")
    assert first_chain(messages, "quality") == conversation("Why?", "Because.")
    assert first_chain(conversation("Why?", " \n"), "quality") is None
    assert first_chain(conversation("Why?", " \n"), "complexity") == conversation("Why?")
    assert first_chain([], "complexity") is None
    longer = longer_chain(conversation("Why?", "Because."), "Because it is.", "quality")
    assert [message["role"] for message in longer] == ["user", "assistant", "assistant"]


def test_a_method_is_drawn_evenly_by_seed_step_and_chain():
    chains = [conversation(f"Question {i}") for i in range(400)]
    drawn = [Evolve(step=1).method(chain) for chain in chains]
    assert drawn == [Evolve(step=1).method(chain) for chain in chains]
    assert all(60 < drawn.count(method) < 140 for method in ("constraint", "deepen", "concretise", "reasoning"))
    for other in (Evolve(step=2), Evolve(seed=1)):
        assert 0.15 < sum(other.method(chain) == one for chain, one in zip(chains, drawn, strict=True)) / 400 < 0.35
    assert {Evolve(dimension="quality", step=step).method(chains[0]) for step in range(1, 60)} == {
        "helpfulness", "relevance", "depth", "creativity", "detail",
    }  # fmt: skip


def test_what_is_asked_identifies_an_operator_and_no_chain_is_cut():
    operators = [Evolve(), Evolve(step=2), Evolve(dimension="quality"), Compare(), Compare(attempt=1)]
    assert len({operator.fingerprint() for operator in operators}) == 5
    question = Evolve(dimension="quality").question({"messages": conversation("Why {x}?", "Because.")})
    assert question.shorter(10) is None
    asked = question.render(question.texts, ())[-1]["content"]
    assert [text for _, text in BLOCK.findall(asked)] == ["Why {x}?", "Because."]
    assert [Compare(attempt=attempt).manner().max_tokens for attempt in range(3)] == [256, 512, 1024]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Name a river.", "Name a river in Asia.", ""),
        ("Name a river.", "name a\nriver.", "unchanged"),
        ("Name a river.", "The new instruction: name a river.", "leaked"),
        ("Write a new instruction for staff.", "Write a new instruction for new staff.", ""),
        ("Name a river.", "=== instruction 0123456789ab ===\nName a river.", "leaked"),
        ("Name a river.", "**I’m sorry**, but no.", "refused"),
        ("列举三种颜色。", "抱歉，我无法完成。", "refused"),
        ("Sorry, I am late. Rewrite this.", "Sorry, I am very late. Rewrite this politely.", ""),
        ("列举三种颜色。", "Name three colours.", "other_script"),
        ("Name three colours.", "列举三种鲜艳的颜色。", "other_script"),
        ("用 Python 写排序", "用 Python 写稳定的排序，并说明它的复杂度", ""),
        ("1 + 1 = ?", "Was ist 1 + 1?", ""),
    ],
)
def test_a_variant_s_flag(old, new, said):
    assert flag(old, new) == said


def test_a_reply_without_a_text_makes_no_variant():
    row = {"messages": conversation("Name a river.")}
    for answer, outcome in (
        (answered(" \n"), "empty"),
        (answered("Name a", finished=False), "unfinished"),
        (answered("<think>hm</think>Name a river."), "unchanged"),
    ):
        value = Evolve().value(row, answer)
        assert value["outcome"] == outcome
        assert bool(value["text"]) == (outcome == "unchanged")


def test_scores_are_joined_to_the_variants_whatever_the_order_they_were_shown_in():
    chain = conversation("one") + [{"role": "user", "content": text} for text in ("two", "three", "four")]
    compare = Compare(attempt=1, seed=5)
    order = compare.order(chain)
    shown = SHOWN.findall(compare.question({"messages": chain}).render({}, ())[-1]["content"])
    assert [text for _, text in shown] == [chain[variant]["content"] for variant in order]
    reply = "\n".join(
        f"[{number}] Score: {['one', 'two', 'three', 'four'].index(text) + 1}" for number, text in shown[:3]
    )
    value = compare.value({"messages": chain}, answered(reply))
    missing = order[3]
    assert value["scores"] == [None if variant == missing else variant + 1 for variant in range(4)]
    assert value["outcomes"][missing] == "missing"
