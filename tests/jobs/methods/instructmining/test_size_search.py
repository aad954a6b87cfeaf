"""BlendSearch over sizes: a planted optimum, the log with which a search goes on, and a warning at an edge."""

import json
import math

import pytest

from jobs.engine.store.folder import Folder
from jobs.methods.instructmining.size_search import Log, searched


def at(folder, name="trials.jsonl") -> Log:
    return Log(Folder.at(folder), name)


def planted(best):
    """A loss that falls to a size and rises after it, which counts what it is asked."""
    asked = []

    def loss(size: int) -> float:
        asked.append(size)
        return 1.0 + math.log(size / best) ** 2

    return loss, asked


@pytest.mark.parametrize("best", [600, 1000, 2532, 5000, 9000])
def test_a_planted_optimum_is_found_within_a_tenth_by_thirty_trials(tmp_path, best):
    loss, asked = planted(best)
    found = searched(loss, 512, 10_000, 30, seed=0, log=at(tmp_path))
    assert abs(found.size / best - 1) < 0.1
    assert asked[0] == 512  # the cheapest comes first
    assert len(asked) == len(set(asked)) == len(found.trials) == 30
    assert found.trials[found.size] == min(found.trials.values())
    assert found.edge == ""


def test_a_search_that_was_stopped_goes_on_after_its_last_trial(tmp_path):
    whole, log = searched(planted(2532)[0], 512, 10_000, 12, seed=3, log=at(tmp_path, "whole")), at(tmp_path)
    searched(planted(2532)[0], 512, 10_000, 5, seed=3, log=log)
    loss, asked = planted(2532)
    assert searched(loss, 512, 10_000, 12, seed=3, log=log) == whole
    assert len(asked) == 7
    assert [trial["size"] for trial in log.lines()] == list(whole.trials)
    assert searched(planted(1)[0], 512, 10_000, 12, seed=3, log=log) == whole  # nothing is asked again


@pytest.mark.parametrize(("best", "told"), [(100, "lower end of the range: set least"), (90_000, "upper end")])
def test_an_optimum_at_an_edge_is_told(tmp_path, best, told):
    found = searched(planted(best)[0], 512, 10_000, 30, seed=0, log=at(tmp_path))
    assert told in found.edge


def test_a_range_of_few_sizes_ends_when_all_were_tried(tmp_path):
    loss, asked = planted(4)
    assert searched(loss, 3, 5, 30, seed=0, log=at(tmp_path)).size == 4
    assert sorted(asked) == [3, 4, 5]
    assert searched(planted(7)[0], 7, 7, 30, seed=0, log=at(tmp_path, "one.jsonl")).trials == {7: 1.0}
    assert json.loads((tmp_path / "one.jsonl").read_text())["size"] == 7
