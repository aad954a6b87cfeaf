"""Ratings that are stated in another form than a number alone on the first line, and numbers that state none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.asking.ratings import Rating, first_line

STATED = [
    "Rating (0-5): 4.5",
    "Rating [0-5]: 4.5",
    "Rating on a scale of 0 to 5: 4.5",
    "Score (out of 5): 4.5",
    "评分（0-5分）：4.5",
    "4.5 on a scale of 0 to 5",
    "4.5 stars",
    "Score: 4.5/5 stars",
    "4.5 out of 5 stars!",
    "4.5⭐\ufe0f",
    "4.5星",
    "4½",
    "Accuracy: 4 ½",
    r"\boxed{4.5}",
    r"$\boxed{4.5}$",
    r"\[\boxed{\text{4.5}}\]",
    r"The final answer is $\boxed{4.5}$.",
    "<|begin_of_box|>4.5<|end_of_box|>",
    "<score>4.5</score>",
    "<accuracy>4.5</accuracy>",
    "<final_score>\n4.5\n</final_score>\nIt covers 3 of 7 points.",
    "<answer>4.5</answer>",
    "[RESULT] 4.5",
    '{"score": 4.5}',
    '```json\n{"accuracy": 4.5}\n```',
    '{\n  "rating": 4.5\n}',
    "Answer: 4.5",
    "答案：4.5",
    "Final answer: 4.5",
    "Verdict: 4.5/5",
    "The rating is 4.5",
    "The accuracy of the response is 4.5.",
    "Here's my rating: 4.5",
    "I would rate the accuracy of this response as 4.5/5.",
    "I'd give this a 4.5 out of 5.",
    "我给4.5分",
    "评分：4.5分",
    "综合评分：4.5",
    "得分：４．５分",
    "准确性：4.5分（满分5分）",
    "准确性评分为4.5分。",
    "評分是 4.5",
    "スコアは4.5です。",
    "정확성: 4.5점",
    "Genauigkeit: 4,5",
    "Accuracy 4.5",
    "Accuracy - 4.5",
    "Accuracy – 4.5",
    "Accuracy → 4.5",
    "- Accuracy: 4.5",
    "| Accuracy | 4.5 |",
    "Rating: 4.5 (accuracy)",
    "4.5 accuracy",
    "4.5 (mostly right)",
    "4.5（基本正确）",
    "4.5 – mostly right",
    "4.5/5 - mostly right",
    "Accuracy: 4.5. The response is mostly right.",
    "评分：4.5分。回答基本正确。",
    "Rating:\n4.5\nIt covers 3 of 7 points.",
    "### Accuracy score\n\n4.5/5\n\nIt covers 3 of 7 points.",
    "Here is my rating:\n4.5",
    "Thought: ok\nRating: 4.5",
    "thought\nThe answer is fine.\n\n4.5",
    "<think>3 or 4?</think>\nThe answer is fine.\n\nRating: 4.5",
]

NOT_STATED = [
    ("Rating (0-5):", "several_numbers"),
    ("Rating (0-10): 4", "other_scale"),
    ("Rating (1-5): 4", "other_scale"),
    ("Score (out of 10): 4", "other_scale"),
    ("评分：8分（满分10分）", "other_scale"),
    ("I would give it a 4 out of 10.", "other_scale"),
    (r"\boxed{9}", "out_of_scale"),
    ("<score>-1</score>", "out_of_scale"),
    ("满分5分", "prose"),
    ("4 / 5 / 5", "several_numbers"),
    (r"4.5 \boxed{5}", "several_numbers"),
    ("<score>4</score><score>5</score>", "several_numbers"),
    ('{"score": 4, "accuracy": 5}', "several_numbers"),
    ("4.5 – it covers 3 of 7 points", "several_numbers"),
    ("4 – or 5", "several_numbers"),
    ("4.5 (or 4)", "several_numbers"),
    ("between 4 and 5", "several_numbers"),
    ("4½½", "prose"),
    ("5. Name the planets", "prose"),
    ("5: the planets", "prose"),
    ("Response: 5", "prose"),
    ("Output: 5", "prose"),
    ("The answer is 5", "prose"),
    ("<b>5</b> is what it asks for", "prose"),
    ("Clarity rating (0-5): 4.5", "several_numbers"),
    ("It covers 3 points.\n4.5", "prose"),
    ("The response says:\nScore: 5", "no_number"),
    ("Thought: ok\nIt says Rating: 5", "no_number"),
    ("Thought: ok\nRating: 5\nThat is what it asks for.", "no_number"),
    ("★★★★", "no_number"),
    ("⭐⭐⭐☆", "no_number"),
]


@pytest.mark.parametrize("reply", STATED)
def test_a_number_that_is_all_that_a_reply_states_is_its_rating(reply):
    assert first_line(reply, 0, 5, "accuracy") == Rating(4.5)


@pytest.mark.parametrize(("reply", "outcome"), NOT_STATED)
def test_other_numbers_beside_it_another_scale_or_a_quotation_make_no_rating(reply, outcome):
    assert first_line(reply, 0, 5, "accuracy") == Rating(None, outcome)


@pytest.mark.parametrize("stars", ["★★★★☆", "Accuracy: ⭐⭐⭐⭐☆", "**★★★★☆**"])
def test_stars_are_counted_where_there_are_as_many_as_the_highest_rating(stars):
    assert first_line(stars, 0, 5, "accuracy") == Rating(4)
    assert first_line(stars, 0, 10, "accuracy") == Rating(None, "no_number")


def test_another_form_is_read_of_a_reply_that_was_cut_where_its_line_is_whole():
    for reply in ("Rating (0-5): 4", "Rating:\n4", "Thought: ok\nRating: 4"):
        assert first_line(reply, 0, 5, finished=False).score is None
    for reply in ("Rating (0-5): 4\nThe resp", "Rating:\n4\n", "4 – right\n"):
        assert first_line(reply, 0, 5, finished=False) == Rating(4)


def test_thinking_before_a_closing_tag_states_nothing_that_the_answer_does_not():
    assert first_line("Thought: ok\nRating: 3\n</think>\n4", 0, 5) == Rating(4)
    assert first_line("3 – hm\n</think>\nRating (0-5): 4", 0, 5) == Rating(4)
    assert first_line("3\n</think>\n4", 0, 5) == Rating(None, "several_numbers")


def test_the_dimension_is_known_in_other_languages_where_it_was_asked_for():
    assert first_line("准确性：4.5", 0, 5, "helpfulness") == Rating(None, "prose")
    assert first_line("有用性：4.5", 0, 5, "helpfulness") == Rating(4.5)


@given(
    st.text("0123456789.,/-–<>score()[]{}|\\boxed½★☆ \n*:Rating分满为给", max_size=40),
    st.sampled_from(["", "accuracy"]),
)
def test_any_text_has_a_score_on_the_scale_or_a_reason(reply, dimension):
    found = first_line(reply, 1, 5, dimension)
    assert (found.score is None) == bool(found.outcome)
    assert found.score is None or 1 <= found.score <= 5


LOOPED = [
    "- ",
    "accuracy ",
    "score of ",
    "the ",
    "4 ",
    "½",
    "0-5 ",
    "{",
    r"\boxed{",
    "<score>",
    "(",
    "★",
    "a\n",
    "|",
    "as a ",
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("before", ["", "4", "Rating ", "4.5 (", "I rate it "])
def test_a_judge_that_repeats_itself_is_read_quickly(before):
    for looped in LOOPED:
        assert first_line(before + looped * 3000 + "x", 0, 5, "accuracy accuracy").score in (None, 4.0, 4.5)
