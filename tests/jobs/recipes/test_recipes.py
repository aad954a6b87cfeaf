"""The recipes' decisions on vectors worked out by hand."""

import numpy as np
import pytest

from jobs.engine.command.config import Request, build
from jobs.engine.terminal.errors import NothingSelected, UsageError
from operators.kernels.k_center import k_center
from tests.jobs.recipes.stored import put_values

pytestmark = pytest.mark.usefixtures("ray_session")

# Two tasks at opposite ends of a circle; unit vectors.
VECTORS = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0], [-0.8, -0.6], [-0.6, -0.8]], np.float32)
TASKS = ["NLI", "NLI", "NLI", "NLI", "QA", "QA", "QA"]


@pytest.fixture
def pool(make_pool):
    """Seven samples; their labels are the first words of their texts."""
    return make_pool([f"{task} {i}" for i, task in enumerate(TASKS)])


def selected(pool, name, *overrides):
    """The recipe's selection with the hand vectors and tasks already in the store, as if they had been computed."""
    recipe = build(name, Request(), [*overrides, "label.name=task"] if name in ("ltd", "deft") else overrides)
    put_values(pool, recipe.embed, VECTORS)
    put_values(pool, recipe.label, TASKS)
    return recipe.select(pool)


def test_ltd_covers_the_target_from_its_mean_outwards(pool):
    chosen = selected(pool, "ltd", "target=NLI", "budget=3")
    assert chosen.ids.tolist() == [1, 3, 0]
    assert chosen.score[[3, 0]].tolist() == pytest.approx([0.8944, 0.6325], abs=1e-4)
    assert [chosen.reasons[i] for i in chosen.reason] == [
        "farthest from all kept before it", "first center", "close to a kept sample",
        "farthest from all kept before it", *["not of the target task"] * 3,
    ]  # fmt: skip


def test_ltd_without_a_target_covers_the_whole_pool(pool):
    # The mean of all points to the right of the origin: sample 2's side; the farthest from it is across the circle.
    chosen = selected(pool, "ltd", "budget=2", "centroids=2")
    first, second = VECTORS[chosen.ids]
    assert np.linalg.norm(VECTORS - first, axis=1).argmax() == chosen.ids[1]
    assert np.linalg.norm(first - second) > 1.8


def test_ltd_in_two_rounds_records_the_radius_that_it_costs(make_pool):
    pool = make_pool([f"word{i}" for i in range(140)])
    recipe = build("ltd", Request(), ["budget=2", "cover=two_round"])
    vectors = np.random.default_rng(0).normal(size=(140, 4)).astype(np.float32)
    put_values(pool, recipe.embed, vectors)
    kept = recipe.select(pool).ids
    entry = next(entry for entry in pool.session.log if "cover" in entry)
    lengths = np.linalg.norm(vectors[:, None] - vectors[kept], axis=2).min(axis=1)
    assert (entry["samples"], entry["picks"]) == (140, 2)
    assert entry["radius"] == pytest.approx(lengths.max(), abs=1e-5)
    assert 0 < entry["least_radius"] <= k_center(vectors, 2, first=int(kept[0])).radius <= entry["radius"]


def test_ltd_refuses_a_target_that_no_sample_has(pool):
    with pytest.raises(UsageError, match=r"no sample has task='poem'; the tasks are \['NLI', 'QA'\]"):
        selected(pool, "ltd", "target=poem", "budget=2")


@pytest.mark.parametrize(
    ("hard", "expected"), [(0.0, {1, 2, 5, 6}), (1.0, {0, 3, 6, 4}), (0.5, {1, 3, 5, 4})], ids=["easy", "hard", "mixed"]
)
def test_deft_takes_each_centroid_s_quota(pool, hard, expected):
    chosen = selected(pool, "deft", "budget=4", "base=0.0", "centroids=2", f"hard={hard}")
    assert set(chosen.ids.tolist()) == expected


@pytest.mark.parametrize(("hard", "expected"), [(1.0, {0, 3, 4}), (0.0, {5, 1, 2})], ids=["hardest", "easiest"])
def test_deft_over_the_whole_pool_ranks_by_prototype_distance(pool, hard, expected):
    chosen = selected(pool, "deft", "budget=3", "ranking=pool", "centroids=2", f"hard={hard}")
    assert set(chosen.ids.tolist()) == expected


def test_deft_refuses_a_label_that_was_named_and_that_no_sample_has(pool):
    recipe = build("deft", Request(), ["budget=4", "label.name=tsk"])
    put_values(pool, recipe.embed, VECTORS)
    with pytest.raises(UsageError, match=r"label\.name=tsk: no sample has a value in this field"):
        recipe.select(pool)


def test_deft_base_has_each_label_s_share_and_is_not_picked_twice(pool):
    chosen = selected(pool, "deft", "budget=6", "base=0.34", "centroids=2", "hard=1.0")
    reasons = [chosen.reasons[i] for i in chosen.reason[chosen.ids]]
    base = [i for i, reason in zip(chosen.ids, reasons, strict=True) if reason == "random base"]
    assert len(set(chosen.ids.tolist())) == 6
    assert sorted(TASKS[i] for i in base) == ["NLI", "NLI", "QA", "QA"]


def test_deft_rounds_no_whole_number_of_hard_and_easy_samples_down(make_pool):
    pool = make_pool([f"{number}" for number in range(40)])
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)

    def kept_as(word, *overrides):
        recipe = build("deft", Request(), ["centroids=2", *overrides])
        put_values(pool, recipe.embed, vectors)
        put_values(pool, recipe.label, ["NLI"] * 40)
        chosen = recipe.select(pool)
        return sum(chosen.reasons[number].startswith(word) for number in chosen.reason[chosen.ids])

    assert kept_as("hard", "budget=10", "base=0.8") == 2  # a fifth; 1 - 0.8 is a float below it
    assert kept_as("easy", "budget=10", "hard=0.9", "ranking=pool") == 1


def with_mods_features(pool, *overrides):
    """MoDS, with rewards, and positions 0, 1, 4, 10 of the good samples, in the store already."""
    recipe = build("mods", Request(), overrides)
    rewards = [{"reward": reward, "truncated": False} for reward in (1.2, -0.3, 0.0, 2.0, 0.7, 0.1)]
    places = np.array([[0, 9], [0, 9], [0, 9], [1, 9], [4, 9], [10, 9]], np.float32)
    put_values(pool, recipe.reward, rewards)
    put_values(pool, recipe.embed, places)
    return recipe


def test_mods_covers_what_is_strictly_above_the_threshold(make_pool):
    pool = make_pool([f"sample {i}" for i in range(6)])
    drawn = ("budget=2", "seed_share=1", "first=random", "seed=11")  # which draws the first of four
    chosen = with_mods_features(pool, *drawn).select(pool)
    assert chosen.ids.tolist() == [0, 5]
    assert [chosen.reasons[i][:19] for i in chosen.reason[[1, 2, 3]]] == [
        "reward too low", "reward too low", "high quality, but c",
    ]  # fmt: skip
    expected = {
        "reward.reward above": 0.0,
        "not scored": 0,
        "truncated": 0,
        "high quality": 4,
        "answered": 0,
        "in the seed": 2,
    }
    assert chosen.facts.items() >= expected.items()
    shared = with_mods_features(pool, "budget=6", "seed_share=1", "quality=0.5").select(pool)
    assert set(shared.ids.tolist()) == {0, 3, 4}
    with pytest.raises(NothingSelected, match=r"no reward is above the threshold; the highest is 2: set quality"):
        with_mods_features(pool, "budget=2", "threshold=2.5").select(pool)


@pytest.mark.parametrize(
    ("fields", "kept", "again"),
    [
        (["candidates=all", "second=independent"], [0, 5], 1),
        (["candidates=rest", "second=independent"], [0, 5, 4], 0),
        (["candidates=rest", "second=warm"], [0, 5, 4], 0),
        (["candidates=rest", "second=warm", "need=1.0"], [0, 5, 4], 0),
        (["candidates=rest", "second=warm", "need_threshold=-1.0"], [0, 5], 0),
    ],
)
def test_mods_covers_what_its_seed_model_answers_badly(make_pool, fields, kept, again):
    verdicts = {0: -0.2, 3: 0.5, 4: -1.0, 5: 0.0}
    pool = make_pool([f"sample {i}" for i in range(6)])
    recipe = with_mods_features(pool, "budget=3", "seed_share=0.66", *fields)
    good = pool[np.array([0, 3, 4, 5])].map(embed=recipe.embed)
    seed = good.ranking(np.array([0, 5]))
    asked = recipe.asked(good, seed, 3)
    assert asked.ids.tolist() == ([0, 3, 4, 5] if "candidates=all" in fields else [3, 4])
    answered = asked.bind(answer_reward=np.array([verdicts[i] for i in asked.ids.tolist()]))
    _, more = recipe.needed(seed, answered, 3)
    assert (seed + more).order.tolist() == kept
    assert len(more & seed) == again
    unmet = recipe.unmet(pool.selection(seed + more, because={}), 6)
    assert ("budget not met" in unmet) == (len(kept) < 3)
    if again:  # sample 4 is as far from the kept ones as any
        assert "picked some of the seed again" in unmet["budget not met"]
