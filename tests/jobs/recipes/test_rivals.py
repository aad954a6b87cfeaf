"""The cheap rivals and the balanced control, on values worked out by hand."""

import numpy as np
import pytest

from jobs.engine.command.config import Request, build
from jobs.engine.terminal.errors import UsageError
from operators.losses.loss import FIELDS
from tests.jobs.corpora import jsonl, records
from tests.jobs.recipes.stored import put_values

pytestmark = pytest.mark.usefixtures("ray_session")


def losses(means):
    return [{"tokens": 5, **dict.fromkeys(FIELDS, 0.5), "nll_mean": mean, "truncated": False} for mean in means]


@pytest.fixture
def pool(make_pool):
    return make_pool([f"task{i % 2} {i}" for i in range(6)])


def test_ifd_drops_what_the_instruction_does_not_help_and_keeps_the_highest_ratio(pool):
    for ratio, order in (("losses", [3, 1, 0, 4]), ("perplexities", [3, 4, 1, 0])):
        recipe = build("ifd", Request(), [f"ratio={ratio}", "budget=4"])
        steps = recipe.steps()
        put_values(pool, steps["loss"], losses([1.0, 1.5, 3.0, 1.9, 0.05, 2.0]))
        put_values(pool, steps["alone"], losses([2.0, 2.0, 2.0, 2.0, 0.2, 2.0]))
        chosen = recipe.select(pool)
        assert chosen.ids.tolist() == order
        assert chosen.reasons[chosen.reason[2]] == chosen.reasons[chosen.reason[5]]
        assert "does not help" in chosen.reasons[chosen.reason[2]]
    few = build("ifd", Request(), ["most=0.6", "budget=4"]).select(pool)
    assert few.ids.tolist() == [0, 4]  # a budget that the method cannot fill
    assert few.score[[0, 4]] == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(("keep", "order"), [("top", [2, 5]), ("middle", [0, 1]), ("bottom", [4, 3])])
def test_perplexity_keeps_the_part_that_is_asked_for(pool, keep, order):
    recipe = build("perplexity", Request(), [f"keep={keep}", "budget=2"])
    put_values(pool, recipe.steps()["loss"], losses([2.0, 3.0, 9.0, 1.0, 0.5, 4.0]))
    chosen = recipe.select(pool)
    assert chosen.ids.tolist() == order
    assert sorted(np.argsort(-chosen.score[:], kind="stable")[:2].tolist()) == sorted(order)


def test_rds_lets_the_subtasks_choose_in_turn(pool, tmp_path):
    rows = [{**row, "subtask": "ab"[i % 2]} for i, row in enumerate(records(3))]
    recipe = build("rds", Request(), [f"target={jsonl(tmp_path / 't.jsonl', rows)}", "budget=4"])
    turned = np.radians([0, 10, 20, 70, 90, 45])
    put_values(pool, recipe.steps()["hidden"], np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float16))
    targets = pool.beside(recipe.target)  # type: ignore[attr-defined]
    put_values(targets, recipe.steps()["hidden"], np.array([[1, 0], [0, 1], [1, 0]], np.float16))
    chosen = recipe.select(pool)
    assert chosen.ids.tolist() == [0, 4, 1, 3]
    assert chosen.details["subtask"][chosen.ids].tolist() == [0, 1, 0, 1]


def test_rds_refuses_a_target_file_that_has_no_rows(pool, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(UsageError, match=r"empty\.jsonl.*no records"):
        build("rds", Request(), [f"target={empty}", "budget=2"]).select(pool)
    assert "name a file of target samples" in next(build("rds", Request(), []).refusals())


def test_balanced_takes_as_many_of_each_source(pool):
    chosen = build("balanced", Request(), ["source=task", "budget=4"]).select(pool)
    assert sorted(chosen.ids % 2) == [0, 0, 1, 1]
    assert chosen.facts["sources"] == 2
    with pytest.raises(UsageError, match="source=tsk: no sample has a value in this field"):
        build("balanced", Request(), ["source=tsk"]).select(pool)
