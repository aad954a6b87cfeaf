"""DEITA: hand-worked decisions, and the whole recipe with tiny scorers on conversations of many turns."""

import json

import numpy as np
import pytest
import yaml

from jobs import explain
from jobs.engine.command.config import Request, build
from jobs.engine.record.entries import columns
from jobs.engine.store.feature import Feature
from jobs.engine.terminal.errors import UsageError
from jobs.methods.deita_walk import accepting_threshold
from operators.kernels.repr_filter import repr_filter
from tests.jobs.corpora import ledger
from tests.jobs.recipes.stored import put_values
from tests.tiny import tiny_causal

pytestmark = pytest.mark.usefixtures("ray_session")

COMPLEXITY = [[2, 3], [4], [5], [1, 1, 1], [3], [4.5]]
QUALITY = [[4, 3], [4], [3], [2, 2, 2], [5], [2]]
TEMPLATES = ["complexity.template={instruction}: ", "quality.template={instruction}{response}: "]


def at(*degrees: float) -> np.ndarray:
    """Unit vectors at these angles."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def selected(pool, complexity, quality, vectors, *overrides):
    """DEITA's selection with these values in the store already, as if they had been computed."""
    recipe = build("deita", Request(), [*TEMPLATES, *overrides])
    for operator, given in ((recipe.complexity, complexity), (recipe.quality, quality)):
        put_values(pool, operator, [{"scores": list(map(float, row)), "truncated": False} for row in given])
    put_values(pool, recipe.embed, vectors)
    put_values(pool, recipe.tokens, [30, 5, 5, 5, 5, 5])
    return recipe.select(recipe.counted(pool))


@pytest.fixture
def six(make_pool):
    return make_pool(f"sample {i}" for i in range(6))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["budget=4"], [0, 2, 4, 5]),
        (["budget=6"], [0, 2, 4, 5]),
        (["budget=2"], [0, 2]),
        (["budget=1"], [0]),
        (["budget=6", "threshold=0.99"], [0, 1, 2, 4, 5, 3]),
    ],
)
def test_the_released_filter_s_outcomes(six, overrides, expected):
    chosen = selected(six, COMPLEXITY, QUALITY, at(0, 10, 30, 50, 60, 90), *overrides)
    assert chosen.ids.tolist() == expected
    assert chosen.score[:].tolist() == [17, 16, 15, 6, 15, 9]


def test_a_sample_near_a_dropped_one_alone_is_kept(six):
    falling = [[score] for score in (6, 5, 4, 3, 2, 1)]
    chosen = selected(six, falling, [[1]] * 6, at(0, 20, 40, 90, 91, 92), "budget=6")
    assert chosen.ids.tolist() == [0, 2, 3]


def test_the_ledger_s_details_name_the_rank_the_blocker_and_the_similarity(six):
    chosen = selected(six, COMPLEXITY, QUALITY, at(0, 10, 30, 50, 60, 90), "budget=3")
    assert [chosen.reasons[i] for i in chosen.reason] == [
        "high evol score, and not similar to a sample kept before it",
        "similarity above 0.9 to a kept sample of a better rank",
        *["high evol score, and not similar to a sample kept before it"],
        "ranked below the last sample compared",
        "high evol score, and not similar to a sample kept before it",
        "ranked below the last sample compared",
    ]
    assert chosen.details["evol_rank"][:].tolist() == [1, 2, 3, 6, 4, 5]
    assert chosen.details["blocker"][:].tolist() == [-1, 0, -1, -1, -1, -1]
    assert chosen.details["similarity"][1] == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-6)
    found = {"threshold": 0.9, "samples embedded": 6, "samples compared": 4, "acceptance": 0.75}
    assert chosen.facts.items() >= {**found, "not scored": 0, "truncated": 0}.items()


def test_the_ranks_are_embedded_a_few_at_a_time_until_enough_are_kept(six):
    chosen = selected(six, COMPLEXITY, QUALITY, at(0, 10, 30, 50, 60, 90), "budget=1")
    assert (chosen.facts["samples embedded"], chosen.facts["samples compared"]) == (2, 1)


def test_all_ranks_are_embedded_where_the_last_is_the_first_that_differs(six):
    falling = [[score] for score in (6, 5, 4, 3, 2, 1)]
    chosen = selected(six, falling, [[1]] * 6, at(0, 1, 2, 3, 4, 90), "budget=2")
    assert chosen.ids.tolist() == [0, 5]
    assert (chosen.facts["samples embedded"], chosen.facts["samples compared"]) == (6, 6)
    assert chosen.details["blocker"][:].tolist() == [-1, 0, 0, 0, 0, -1]


def test_a_budget_in_tokens_ends_the_walk_where_it_is_spent(six):
    vectors = at(0, 10, 30, 50, 60, 90)
    for budget, kept, looked_at in ((25, [0], 1), (34, [0, 2], 3), (44, [0, 2, 4, 5], 6)):
        chosen = selected(six, COMPLEXITY, QUALITY, vectors, f"budget=tokens:{budget}")
        assert chosen.ids.tolist() == kept
        assert chosen.facts["samples compared"] == looked_at


@pytest.mark.parametrize(("aggregate", "best"), [("sum", 0), ("mean", 1), ("max", 1), ("last", 1)])
def test_another_aggregate_takes_the_advantage_from_long_conversations(six, aggregate, best):
    chosen = selected(six, COMPLEXITY, QUALITY, at(*range(6)), "budget=1", f"aggregate={aggregate}")
    assert chosen.ids.tolist() == [best]


def test_acceptance_chooses_the_threshold_that_keeps_this_share_of_the_first_ranks(six):
    chosen = selected(six, COMPLEXITY, QUALITY, at(0, 10, 30, 50, 60, 90), "budget=6", "acceptance=0.33")
    assert len(chosen.ids) == 2
    assert chosen.facts["threshold"] < np.cos(np.deg2rad(30))
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 8)).astype(np.float32)
    threshold = accepting_threshold(rows, 0.4)
    assert abs(len(repr_filter(rows, None, threshold).kept) / 400 - 0.4) <= 0.005


def test_different_numbers_of_turns_end_the_run_and_name_the_row(six):
    with pytest.raises(Exception, match="row 5 has 1 turns scored for complexity and 2 for quality"):
        selected(six, COMPLEXITY, [*QUALITY[:5], [1, 2]], at(*range(6)), "budget=1")


def test_a_released_scorer_without_its_prompt_is_refused_without_data(six):
    recipe = build("deita", Request(), ["complexity.template={instruction}: ", "budget=1"])
    with pytest.raises(UsageError, match=r"deita-quality-scorer comes without the prompt .* quality\.template=\.\.\."):
        recipe.check()
    with pytest.raises(UsageError, match="budget 6000 is above the 6 samples of the pool"):
        selected(six, COMPLEXITY, QUALITY, at(*range(6)), "budget=6000")


@pytest.fixture(scope="module")
def scorers(tmp_path_factory):
    """Two tiny scorers, each with its scorer.json."""
    folders = [tmp_path_factory.mktemp(name) for name in ("complexity", "quality")]
    for seed, (folder, template) in enumerate(
        zip(folders, ("{instruction}", "{instruction}\n{response}"), strict=True)
    ):
        tiny_causal(folder, seed=seed)
        settings = {"template": f"{template}\nScore: ", "labels": ["1", "2", "3", "4", "5", "6"]}
        (folder / "scorer.json").write_text(json.dumps(settings))
    return [f"{name}.model.name={folder}" for name, folder in zip(("complexity", "quality"), folders, strict=True)]


def conversations(count: int) -> list[dict]:
    """ShareGPT conversations of one to four turns, some nearly the same, one of an answer alone."""
    subjects = ["bread", "goats", "tides", "北京", "музыка", "الطقس", "verbs", "maps"]
    made = []
    for i in range(count):
        about = subjects[i % 8]
        said = [
            {"from": role, "value": f"{text} {about} {i // 16 if i % 3 else 0}{'!' * (i // 24)}"}
            for turn in range(1 + (i % 4 if i >= count // 2 else 0))
            for role, text in (("human", f"Explain {turn}"), ("gpt", "Well, this is" * (1 + i % 5)))
        ]
        made.append({"conversations": said, "number": i})
    made.append({"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "Hello."}]})
    return made


def test_deita_end_to_end_embeds_a_prefix_and_decides_as_if_it_had_embedded_all(run, tmp_path, scorers):
    lines = [json.dumps(each, ensure_ascii=False) for each in conversations(96)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "p.yaml").write_text("default: {rows: 32, workers: 1}")
    words = ["deita", "in.jsonl", *scorers, "max_errors=0.05", "--profile", "p.yaml"]
    code, said = run(*words, "--out", "few", "budget=12", store="own")
    assert code == 0, said
    assert "12 kept" in said
    manifest = yaml.safe_load((tmp_path / "few/manifest.yaml").read_text())
    found = manifest["found"]
    assert 12 <= found["samples compared"] <= found["samples embedded"] < 90
    embedded = [verb for verb in manifest["verbs"] if verb.get("map") == "embed"]
    assert sum(verb["computed"] for verb in embedded) == found["samples embedded"]
    unscored = [row for row in ledger(tmp_path / "few") if row["state"] == "quarantined"]
    assert [row["reason"] for row in unscored] == ["complexity: empty_text: a turn has no text to score"]

    code, said = run(*words, "--out", "all", "budget=97", store="own")
    assert code == 0, said
    few, everything = ((tmp_path / name / "selected.jsonl").read_text().splitlines() for name in ("few", "all"))
    assert everything[:12] == few
    assert 12 < len(everything) < 96
    rows = {row["id"]: row for row in ledger(tmp_path / "all") if row["id"] is not None and row["score"] is not None}
    manifest = yaml.safe_load((tmp_path / "all/manifest.yaml").read_text())
    vectors = (
        Feature(columns(manifest["verbs"], manifest["pool"]["folder"])["embed"]["feature"])
        .values(np.arange(96))
        .astype(np.float64)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept: list[int] = []
    for sample in sorted(rows, key=lambda sample: (-rows[sample]["score"], sample)):
        near = [other for other in kept if vectors[sample] @ vectors[other] > 0.9]
        assert (rows[sample]["state"] == "dropped") == bool(near)
        assert rows[sample]["blocker"] == (near[0] if near else None)
        kept += [] if near else [sample]
    assert [json.loads(line)["number"] for line in everything] == kept

    dropped = next(row for row in rows.values() if row["state"] == "dropped")
    code, said = run("all", dropped["id"], command=explain)
    assert code == 0
    assert "similarity above 0.9 to a kept sample" in said
    code, said = run("--config", "few/manifest.yaml", "--out", "again", store="own")
    assert code == 0, said
    assert (tmp_path / "again/selected.jsonl").read_text() == (tmp_path / "few/selected.jsonl").read_text()
