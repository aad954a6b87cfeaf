"""What a comparison measures and says, on numbers worked out by hand."""

import numpy as np
import pytest

from jobs.engine.command.config import Request
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError
from jobs.methods.comparison.contenders import Comparison, Entry, checked, contenders, entries_in, settings
from jobs.methods.comparison.costs import computed, cost
from jobs.methods.comparison.losses import FineTuned
from jobs.methods.comparison.measures import shift
from jobs.methods.comparison.outcome import claim
from jobs.methods.comparison.results import Result, overlap
from jobs.methods.comparison.table import markdown
from operators.kernels.sampling import random_order
from operators.missing import ModelMissing

SHARED = Request(inputs=("in.jsonl",), fields={"budget": "10%"})


def result(kept, folder="pool"):
    return Result(np.array(kept, np.int64), folder, {})


def test_overlap_is_of_the_samples_that_both_pools_have():
    assert overlap(result([3, 1, 2]), result([2, 3, 9]), 10) == 2 / 4
    assert overlap(result([1, 12], "grown"), result([1, 2]), 10) == 1 / 3
    assert overlap(result([1, 12], "grown"), result([1, 12], "also grown"), 10) == 1 / 3
    assert overlap(result([1, 12], "grown"), result([12, 1], "grown"), 10) == 1
    assert overlap(result([]), result([]), 10) == 0


def test_shift_is_the_total_variation_distance():
    assert shift({"Latin": 3, "Han": 1}, {"Han": 5}) == 0.75
    assert shift({"a": 5, "b": 5}, {"a": 1, "b": 1}) == 0
    assert shift({"a": 1}, {}) == 0.5


def entry(column, stored, seconds, samples=10, operator="Embed", made_of=("a model",), **more):
    return {
        "map": column, "operator": operator, "fingerprint": column, "pool": "p", "samples": samples, "stored": stored,
        "computed": samples - stored, "seconds": seconds, "made_of": list(made_of), **more,
    }  # fmt: skip


def test_a_feature_that_another_recipe_computed_counts_in_the_seconds_of_both():
    first = {"seconds": 12.0, "verbs": [entry("embed", 0, 10.0), entry("embed", 10, 0.5)]}
    second = {"seconds": 3.0, "verbs": [entry("embed", 10, 0.5), entry("tokens", 0, 1.0, operator="Tokens")]}
    few = {"seconds": 3.0, "verbs": [entry("embed", 2, 0.5, samples=2)]}
    known = computed([first, second, few])
    assert (cost(first, known).seconds, cost(first, known).passes) == (12.0, 10)
    assert (cost(second, known).seconds, cost(second, known).passes) == (13.0, 10)
    assert (cost(few, known).seconds, cost(few, known).passes) == (5.0, 2)  # a fifth of the samples
    assert {cost(each, known).known for each in (first, second, few)} == {"measured"}


def test_seconds_that_no_run_of_the_comparison_has_are_estimated_or_said_to_be_left_out(tmp_path):
    later = {"seconds": 3.0, "verbs": [entry("embed", 10, 0.5)]}
    assert (cost(later, {}).seconds, cost(later, {}).known) == (3.0, "at least")
    (tmp_path / "pace.json").write_text('{"samples_a_second": 2.0}')
    stored = {"seconds": 3.0, "verbs": [entry("embed", 10, 0.5, feature=f"{tmp_path}/pool")]}
    assert (cost(stored, {}).seconds, cost(stored, {}).known) == (8.0, "estimated")
    # Of ten samples, a run that was killed has computed four, or another pool has had them.
    for found in ({"stored": 4}, {"stored": 0, "taken_over": 4}):
        begun = {"seconds": 9.0, "verbs": [{**entry("embed", 4, 6.0, feature=f"{tmp_path}/pool"), **found}]}
        assert (cost(begun, computed([begun])).seconds, cost(begun, computed([begun])).known) == (11.0, "estimated")
        assert cost(stored, computed([begun, stored])).known == "estimated"
    in_parts = {"seconds": 9.0, "verbs": [entry("embed", 0, 3.0, samples=4), entry("embed", 4, 6.0)]}
    assert (cost(in_parts, computed([in_parts])).seconds, cost(in_parts, {}).known) == (9.0, "measured")


def test_each_epoch_of_a_training_is_a_pass():
    trained = entry("x", 0, 5.0, samples=7, operator="Finetune", epochs=3, folder="trained/1")
    del trained["map"]
    manifest = {"seconds": 6.0, "verbs": [trained, entry("loss", 0, 1.0)]}
    assert cost(manifest, computed([manifest])).passes == 7 * 3 + 10


def test_a_selection_beats_random_only_where_samples_and_seeds_say_so():
    rng = np.random.default_rng(0)
    random = [rng.normal(2.0, 0.3, (3, 200)) for _ in range(2)]
    unsure = np.full((3, 200), 2.0) + np.array([[-0.3], [-0.3], [0.2]])
    losses = {"random-0": random[0], "random-1": random[1], "good": random[0] - 0.2, "bad": random[0] + 0.2}
    rows = FineTuned({**losses, "unsure": unsure}).rows()
    assert rows["good"]["against_random"] == "better"
    assert rows["bad"]["against_random"] == "worse"
    assert rows["unsure"]["against_random"] == "no difference shown"
    assert "against_random" not in rows["random-0"]
    assert rows["good"]["gap_low"] < rows["good"]["gap"] < rows["good"]["gap_high"] < 0
    assert rows["bad"]["loss"] == pytest.approx((random[0] + 0.2).mean())
    within = {"random-0": random[0], "random-1": random[0] + 0.4, "other": random[0] + 0.3}
    row = FineTuned(within).rows()["other"]  # it is no worse than one of the random selections
    assert (row["gap_low"] > 0, row["against_random"]) == (True, "no difference shown")


def test_a_held_out_sample_without_a_loss_under_one_model_counts_for_none():
    losses = np.ones((2, 3))
    losses[1, 2] = np.nan
    assert FineTuned({"random-0": losses, "other": np.array([[1, 1, 50.0]] * 2)}).rows()["other"]["loss"] == 1


def test_controls_come_first_and_fields_go_to_the_recipe_that_they_name():
    entries = {"top": Entry("perplexity", fields={"keep": "top", "budget": "7"}), "ltd": Entry(fields={"centroids": 3})}
    made = contenders(["ltd"], entries, Comparison(seeds=2, seed=5), SHARED, ["ltd.seed=4", "top.seed=1"])
    assert [each.name for each in made] == ["random-5", "random-6", "balanced", "longest", "ltd", "top"]
    by_name = {each.name: each for each in made}
    assert by_name["random-6"].recipe().budget == "10%"
    ltd = by_name["ltd"].recipe()
    assert (ltd.seed, ltd.centroids, ltd.budget) == (4, 3, "10%")  # type: ignore[attr-defined]
    assert by_name["top"].request.fields == {"budget": "7", "keep": "top"}
    with pytest.raises(UsageError, match="no recipe 'ldt'; did you mean 'ltd'"):
        contenders([], {"x": Entry("ldt")}, Comparison(), SHARED, [])


def test_no_entry_passes_for_a_random_selection_and_a_control_that_is_named_stays_what_it_is():
    with pytest.raises(UsageError, match="'random-mine' is a name for a random selection"):
        contenders([], {"random-mine": Entry("longest")}, Comparison(), SHARED, [])
    wanted = Comparison(source="task")
    alone, named = (contenders(each, {}, wanted, SHARED, []) for each in ([], ["balanced"]))
    assert named == alone
    changed = contenders(["longest"], {"longest": Entry(fields={"seed": 3})}, wanted, SHARED, [])
    assert {each.name: each for each in changed}["longest"].recipe().seed == 3


def test_the_draws_of_controls_have_nothing_to_do_with_those_of_recipes_and_of_one_another():
    made = contenders([], {"deft": Entry()}, Comparison(), SHARED, [])
    drawn = {each.name: set(random_order(1000, each.recipe().seed)[:200].tolist()) for each in made}
    del drawn["longest"]
    shared = {(one, other): len(drawn[one] & drawn[other]) for one in drawn for other in drawn if one < other}
    assert len(shared) == 10
    assert all(15 < number < 65 for number in shared.values()), shared  # 40 by chance
    assert made[0].recipe().seed != contenders([], {}, Comparison(seed=1), SHARED, [])[0].recipe().seed


def test_a_recipe_that_lacks_a_model_is_named_or_left_out():
    made = contenders(["less", "ifd"], {}, Comparison(), SHARED, ["ifd.loss.model.name=/no/model"])
    with pytest.raises(UsageError, match=r"less: LESS selects for a target"):
        checked(made, ())
    recipes, left_out = checked([each for each in made if each.name != "less"], [ModelMissing])
    assert list(left_out) == ["ifd"]
    assert "/no/model" in left_out["ifd"]
    assert list(recipes) == ["random-0", "random-1", "random-2", "balanced", "longest"]


def test_a_configuration_that_is_none_is_refused(tmp_path):
    file = tmp_path / "recipes.yaml"
    for text, told in (
        ("- ltd", "is not a mapping from names"),
        ("ltd: {field: {}}", r"unknown field .*ltd\.field'; did you mean 'fields'"),
        ("../other: {recipe: ltd}", r"'\.\./other' is the name of no folder"),
        ('"": {recipe: ltd}', "'' is the name of no folder"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=told):
            entries_in(str(file))
    file.write_text("ltd:\ntop: {recipe: perplexity, fields: {keep: top}}")
    assert entries_in(str(file)) == {"ltd": Entry(), "top": Entry("perplexity", fields={"keep": "top"})}
    with pytest.raises(UsageError, match=r"train\.batch follows from steps"):
        settings(["train.batch=8"], None)
    with pytest.raises(UsageError, match="near-duplicates are found by the distance of unit vectors"):
        settings(["embed.scale=raw"], None)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"nonsense", b'{"asked": 1}'])
def test_a_folder_with_a_foreign_file_of_this_name_is_refused(tmp_path, content):
    (tmp_path / "comparison.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"comparison\.json is not of a comparison by Winnow"):
        claim(Folder.at(str(tmp_path)), {"inputs": [], "budget": "5%", "reading": {}})


def test_the_table_has_what_was_measured_and_says_what_was_not():
    rows = [
        {"name": "ltd", "kept": 1200, "radius": 0.51234, "seconds": 61.0, "seconds_known": "at least"},
        {"name": "balanced", "kept": 0},
        {"name": "a|b", "why": "no\nmodel"},
    ]
    text = markdown(rows, {"ltd": {"ltd": 1.0, "balanced": 0.25}, "balanced": {"ltd": 0.25, "balanced": 1.0}}, ["x"])
    assert "| method | kept | radius | seconds |" in text
    assert "| ltd | 1,200 | 0.512 | ≥ 61 |" in text
    assert "| balanced | 0 |  |  |" in text
    assert "| ltd | 1.00 | 0.25 |" in text
    assert "- a|b: not compared: no\nmodel" in text
