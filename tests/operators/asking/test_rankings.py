"""Rankings: scores joined to variants by index, and what follows from them."""

import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.asking.rankings import VariantScores, rankings, shuffled, step, unshuffled

SCORES = (3, 5, 1, 4, 2, 6)


def reply(scores: Mapping[int, object]) -> str:
    return "\n".join(f"[{index}] Score: {score}" for index, score in scores.items())


IN_ORDER = dict(enumerate(SCORES, start=1))
SIX = reply(IN_ORDER)


@pytest.mark.parametrize(
    "text",
    [
        SIX,
        reply({index: IN_ORDER[index] for index in (3, 1, 6, 2, 5, 4)}),
        f"Here are the scores, from 1 to 5:\n\n{SIX}",
        SIX.replace("\n", "\n\n"),
        SIX.replace("\n", "\r\n"),
        SIX.upper(),
        SIX.replace("Score: ", "score:"),
        SIX.replace("[", "**[").replace("]", "]**"),
        SIX.replace("] ", "]: "),
        SIX.replace(": ", "："),
        SIX.replace("[", "- ["),
        SIX.translate(str.maketrans("123456", "１２３４５６")),
        reply({index: f"{score}/6" for index, score in IN_ORDER.items()}),
        reply({index: f"{score} (有两个约束)" for index, score in IN_ORDER.items()}),
        reply({index: f"{score}分。" for index, score in IN_ORDER.items()}),
        f"<think>{reply(dict.fromkeys(range(1, 7), 2))}</think>{SIX}",
        f'The third one says "[3] Score: 6" of itself.\n{SIX}',
    ],
)
def test_rankings_scores_are_joined_by_index(text):
    assert rankings(text, 6) == VariantScores(SCORES, ("",) * 6)


def test_a_judge_that_writes_blanks_up_to_its_limit_is_read_at_once():
    began = time.process_time()
    assert rankings(f"[1] complexity{' ' * 6000}x\n[2] Score: 3", 2, "complexity").scores == (None, 3)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("said", "score", "outcome"),
    [
        ("4/5", 4, ""),
        ("4 / 6", 4, ""),
        ("4.", 4, ""),
        ("4, for it has a limit", 4, ""),
        ("**4**", 4, ""),
        ("4/10", None, "other_scale"),
        ("4.5", None, "not_integer"),
        ("4.0", None, "not_integer"),
        ("4,5", None, "not_integer"),
        ("4½", None, "not_integer"),
        ("4 ½", None, "not_integer"),
        ("4-5", None, "not_integer"),
        ("4 or 5", None, "not_integer"),
        ("4+", None, "not_integer"),
        ("40%", None, "not_integer"),
        ("four", None, "not_integer"),
        ("四", None, "not_integer"),
        ("", None, "not_integer"),
        ("9" * 5000, None, "not_integer"),
        ("0", None, "out_of_range"),
        ("7", None, "out_of_range"),
        ("10", None, "out_of_range"),
        ("-1", None, "out_of_range"),
    ],
)
def test_rankings_only_whole_numbers_on_the_scale_are_scores(said, score, outcome):
    found = rankings(reply(IN_ORDER | {4: said}), 6)
    assert (found.scores[3], found.outcomes[3]) == (score, outcome)
    assert found.scores[:3] + found.scores[4:] == SCORES[:3] + SCORES[4:]


@pytest.mark.parametrize("label", ["Complexity", "complexity score", "Complexity rating", "Score of complexity"])
def test_rankings_the_dimension_that_was_asked_for_may_stand_by_the_score(label):
    text = SIX.replace("Score", f"**{label}**")
    assert rankings(text, 6, "complexity") == VariantScores(SCORES, ("",) * 6)
    assert rankings(text, 6, "quality") == rankings(text, 6) == VariantScores((None,) * 6, ("missing",) * 6)


@pytest.mark.parametrize("label", ["评分：", "Rating: ", ": ", " ", "复杂性：", "Complexity grade: ", "Verdict: "])
def test_rankings_another_word_for_score_or_none_is_read_where_a_line_in_the_form_is_missing(label):
    assert rankings(f"[1] {label}5\n[2] **{label}**3/6", 2, "complexity").scores == (5, 3)
    assert rankings(f"[1] {label}5\n[1] Score: 2\n[2] Score: 3", 2, "complexity").scores == (2, 3)
    assert rankings(f"[1] {label}5\n[3] {label}3", 2, "complexity").outcomes == ("misnumbered", "misnumbered")


@pytest.mark.parametrize(
    "line", ["[1] 5 things to say", "[1] Clarity: 5", "[1] It says score: 5", "[1] 5 or 6", "1. 5"]
)
def test_rankings_a_number_among_other_words_is_no_score(line):
    assert rankings(f"{line}\n[2] Score: 3", 2, "complexity").scores == (None, 3)


def test_rankings_the_line_that_a_reply_was_cut_in_is_not_read():
    assert rankings(SIX, 6, finished=False).outcomes == ("",) * 5 + ("missing",)
    assert rankings(f"{SIX}\n", 6, finished=False).scored == 6
    assert rankings("[1] Sc", 2, finished=False) == VariantScores((None, None), ("unfinished", "unfinished"))
    assert rankings("", 2, finished=False).outcomes == ("unfinished", "unfinished")


def test_rankings_missing_line_leaves_its_variant_without_a_score():
    found = rankings(reply({index: score for index, score in IN_ORDER.items() if index != 4}), 6)
    assert found == VariantScores((3, 5, 1, None, 2, 6), ("", "", "", "missing", "", ""))
    assert found.scored == 5


def test_rankings_duplicate_index_keeps_the_last_and_is_flagged():
    assert rankings("[1] Score: 2\n[2] Score: 3\n[1] Score: 5", 2) == VariantScores((5, 3), ("duplicate", ""))
    assert rankings("[1] Score: 2\n[1] Score: high", 1) == VariantScores((None,), ("not_integer",))


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>[1] Score: 4\n[2] Score: 3", "unfinished"),
        ("I am sorry, I cannot score these.", "missing"),
        ("抱歉，我无法评分。", "missing"),
        ("4\n3", "missing"),
        ("[0] Score: 4\n[1] Score: 3", "misnumbered"),
        ("[1] Score: 4\n[2] Score: 3\n[3] Score: 3", "misnumbered"),
    ],
)
def test_rankings_reply_that_is_no_ranking_gives_no_score(text, outcome):
    assert rankings(text, 2) == VariantScores((None, None), (outcome, outcome))


def test_rankings_no_variant_is_refused():
    with pytest.raises(ValueError, match="one variant or more"):
        rankings(SIX, 0)


@given(st.text(max_size=80) | st.text("[]12 sSCcoOrReE:\n./", max_size=60), st.integers(1, 3))
@pytest.mark.fault("a judge's reply is no rating", how="any text, generated", holds="scores on the scale, or reasons")
def test_rankings_any_text_has_scores_on_the_scale_or_reasons(text, count):
    found = rankings(text, count)
    assert len(found.scores) == len(found.outcomes) == count
    for score, outcome in zip(found.scores, found.outcomes, strict=True):
        assert outcome in ("", "duplicate") if score is not None else outcome not in ("", "duplicate")
        assert score is None or 1 <= score <= 6


@pytest.mark.timeout(10)
@pytest.mark.parametrize("looped", [" ", "*", "9", "(", "/", "[1]", "score:", "[1] Score: 4\n"])
@pytest.mark.parametrize("before", ["", "[1]", "[1] Score:", "[1] Score: 4"])
def test_rankings_judge_that_repeats_itself_is_read_quickly(before, looped):
    assert len(rankings(before + looped * 10_000 + "7", 2).scores) == 2


def ranking(*scores: int | None) -> VariantScores:
    return VariantScores(scores, tuple("missing" if score is None else "" for score in scores))


@pytest.mark.parametrize(
    ("found", "retries", "expected"),
    [
        (ranking(*SCORES), 0, "keep"),
        (ranking(*SCORES), 2, "keep"),
        (ranking(3, 5, 1, None, 2, 6), 0, "retry"),
        (ranking(3, 5, 1, None, 2, 6), 1, "retry"),
        (ranking(3, 5, 1, None, 2, 6), 2, "drop_variants"),
        (ranking(3, 5, None, None, 2, 6), 2, "drop_variants"),
        (ranking(3, None, None, None, 2, 6), 2, "drop_seed"),
        (ranking(*[None] * 6), 0, "retry"),
        (ranking(*[None] * 6), 2, "drop_seed"),
        (ranking(*[4] * 6), 0, "flat"),
        (ranking(4, 4, 4, 4, 4, None), 1, "retry"),
        (ranking(4, 4, 4, 4, 4, None), 2, "flat"),
        (ranking(4, 3), 0, "keep"),
        (ranking(4, None), 2, "drop_seed"),
    ],
)
def test_step_follows_from_what_is_scored_and_how_often_it_was_asked(found, retries, expected):
    assert step(found, retries) == expected


@given(st.integers(1, 12), st.text(st.characters(codec="utf-8"), max_size=10))
def test_unshuffled_undoes_shuffled(count, seed_material):
    order = shuffled(count, seed_material)
    shown = [f"variant {variant}" for variant in order]
    assert unshuffled(shown, order) == [f"variant {variant}" for variant in range(count)]
    assert shuffled(count, seed_material) == order


def test_shuffled_places_are_evenly_taken():
    firsts = [shuffled(6, f"seed 1, sample {sample}, retry 0")[0] for sample in range(6000)]
    assert all(abs(firsts.count(variant) - 1000) < 150 for variant in range(6))


def test_shuffled_retry_has_another_order():
    assert len({shuffled(6, f"1 abc {retry}") for retry in range(20)}) > 15


def test_shuffled_wrong_request_is_refused():
    with pytest.raises(ValueError, match="one variant or more"):
        shuffled(0, "1")
    with pytest.raises(ValueError, match="not a permutation"):
        unshuffled([4, 5], (0, 0))
    with pytest.raises(ValueError, match="not a permutation"):
        unshuffled([4, 5, 6], (0, 1))
