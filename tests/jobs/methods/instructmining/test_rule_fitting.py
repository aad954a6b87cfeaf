"""The parts of a fit of a rule that need no cluster: the sets that are drawn, and what is made of their losses."""

import numpy as np
import pytest

from jobs.engine.command.config import configured
from jobs.engine.terminal.errors import UsageError
from jobs.methods.instructmining.rule_fitting import RuleFit, Run, doubts, drawn, fitted, rule_content
from jobs.methods.sources import Sources

ONE_THREE = Sources(("a", "b"), np.repeat([0, 1], [100, 300]))


def test_sets_are_random_mixtures_of_the_sources_and_follow_from_their_numbers():
    sets = [drawn(ONE_THREE, 50, seed=0, number=number) for number in range(40)]
    assert all(len(np.unique(each)) == 50 for each in sets)
    shares = np.array([(ONE_THREE.of[each] == 0).mean() for each in sets])
    assert shares.min() < 0.15 < 0.85 < shares.max()  # uniform over the sources' names, whatever their sizes
    assert 0.35 < shares.mean() < 0.65
    assert np.array_equal(drawn(ONE_THREE, 50, seed=0, number=7), sets[7])
    assert not np.array_equal(drawn(ONE_THREE, 50, seed=1, number=7), sets[7])


def test_a_set_may_be_all_samples_and_not_more():
    assert np.array_equal(drawn(ONE_THREE, 400, seed=0, number=0), np.arange(400))
    with pytest.raises(UsageError, match="samples=401, and only 400 have every indicator"):
        drawn(ONE_THREE, 401, seed=0, number=0)


def test_ten_thousand_sources_of_one_sample_each():
    many = Sources(tuple(map(str, range(10_000))), np.arange(10_000))
    assert len(np.unique(drawn(many, 1000, seed=0, number=0))) == 1000


def planted_runs(count=24, noise=0.005):
    rng = np.random.default_rng(0)
    runs = []
    for number in range(count):
        means = {"rew": rng.uniform(-1, 1), "mtld": rng.uniform(10, 80), "len_out": 120.0}
        loss = np.exp(0.3 - 0.2 * means["rew"] + 0.004 * means["mtld"] + noise * rng.standard_normal())
        runs.append(Run(number, {"a": 1.0}, means, float(loss)))
    return runs


def asked(*overrides):
    return configured(RuleFit, {}, ["indicators=rew,mtld,len_out", *overrides])


def test_a_planted_rule_comes_back_and_a_constant_indicator_is_named():
    found = fitted(planted_runs(), asked())
    assert found.constant == ["len_out"]
    assert [list(each.coefficients) for each in found.fits] == [["rew"], ["rew", "mtld"]]
    values = {name: each.value for name, each in found.rule.coefficients.items()}
    assert values == pytest.approx({"rew": -0.2, "mtld": 0.004}, rel=0.05)
    assert list(doubts(found, 0.1)) == []
    content = rule_content(found, asked(), "h.jsonl", 0.1)
    assert content["coefficients"] == values
    assert content["left_out"] == ["len_out"]
    assert content["indicators"]["mtld"]["operator"] == "LexicalDiversity"
    assert "24 fine-tunes of Qwen/Qwen3-1.7B-Base on 1,000 samples each, loss on h.jsonl" in content["provenance"]
    assert content["indicators"]["mtld"]["version"] == 1


def test_what_speaks_against_a_rule_is_told():
    rng = np.random.default_rng(1)
    rewards = rng.uniform(0, 1, 12)
    found = fitted([Run(n, {}, {"rew": r}, float(np.exp(r))) for n, r in enumerate(rewards)], asked("indicators=rew"))
    told = list(doubts(found, -0.9))
    assert any("rew has an unexpected sign" in each for each in told)
    assert any("rank correlation with the length of responses is -0.90" in each for each in told)
    noise = [Run(n, {}, {"rew": rng.standard_normal()}, float(np.exp(rng.standard_normal()))) for n in range(12)]
    lonely = fitted(noise, asked("indicators=rew"))
    assert any("cross-validated" in each for each in doubts(lonely, None))


def test_without_indicators_that_differ_there_is_no_rule():
    same = [Run(number, {}, {"rew": 1.0}, 2.0 + number) for number in range(5)]
    with pytest.raises(UsageError, match="no rule can be fitted"):
        fitted(same, asked("indicators=rew"))


def test_unknown_indicators_are_refused():
    with pytest.raises(UsageError, match="there is no indicator 'luck'; the indicators are rew, len_in"):
        configured(RuleFit, {}, ["indicators=rew,luck"])
