"""The template and the labels of a scorer, and the label that its logits expect."""

import json
import math

import numpy as np
import pytest

from operators.checkpoint import Checkpoint
from operators.scoring.scale import expected_labels, label_ids
from operators.scoring.scorer import Scorer
from tests.operators.scoring.scorers import COMPLEXITY, LABELS, PAIRS, QUALITY, batch, conversation, scorer
from tests.tiny import tiny_causal, tiny_tokenizer


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.7] * 6, 3.5),
        ([math.log(k) for k in range(1, 7)], 4.333333),
        ([1, 2, 3, 2, 1, 0], 3.072639),
        ([1001, 1002, 1003, 1002, 1001, 1000], 3.072639),
        ([-math.inf] * 5 + [0], 6.0),
        ([-math.inf] * 6, math.nan),
        ([0, 1, math.nan, 1, 0, 0], math.nan),
    ],
)
def test_expected_label_of_logits(logits, expected):
    found = expected_labels(np.array([logits], np.float32), np.arange(1, 7))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_an_expected_label_does_not_depend_on_the_other_rows():
    logits = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    together = expected_labels(logits, np.arange(1, 7))
    assert [expected_labels(row[None], np.arange(1, 7))[0] for row in logits] == together.tolist()


def test_a_label_counts_as_its_number_wherever_it_stands():
    assert expected_labels(np.array([[0, -np.inf], [-np.inf, 0]]), np.array([10, 2])).tolist() == [10, 2]


def test_a_tokenizer_that_joins_blank_and_digit_is_refused_with_what_fits(tmp_path):
    joined = tiny_causal(tmp_path, digits="joined")
    with pytest.raises(
        ValueError, match=r"label '1' .*without the blank at its end fits, with the labels \[' 1', ' 2'"
    ):
        scorer(joined).load()
    fitting = scorer(joined, template=QUALITY.rstrip(), labels=tuple(" " + label for label in LABELS))
    (value,) = fitting.load()(batch(conversation(*PAIRS[0])))
    assert 1 < value["scores"][0] < 6


def test_a_label_of_several_tokens_is_refused(folder):
    with pytest.raises(ValueError, match=r"label '10' .*use another tokenizer"):
        scorer(folder, labels=("1", "10")).load()


def test_label_ids_are_the_tokens_after_any_text(tmp_path):
    alone, joined = tiny_tokenizer(tmp_path / "a"), tiny_tokenizer(tmp_path / "j", digits="joined")
    assert label_ids(alone, QUALITY, LABELS) == alone.convert_tokens_to_ids(list(LABELS))
    assert label_ids(joined, QUALITY, LABELS) == [None] * 6
    # After a field, what precedes the label is the text's own end: there is no one token for all texts.
    assert None in label_ids(joined, "{instruction} ", LABELS)


def test_template_and_labels_come_from_scorer_json_and_enter_the_fingerprint(tmp_path):
    folder = tiny_causal(tmp_path)
    (folder / "scorer.json").write_text(json.dumps({"template": COMPLEXITY, "labels": LABELS}))
    written = Scorer(model=Checkpoint(str(folder)))
    before = written.fingerprint()
    samples = batch(*(conversation(*pair) for pair in PAIRS))
    assert written.load()(samples) == scorer(folder, template=COMPLEXITY).load()(samples)
    (folder / "scorer.json").write_text(json.dumps({"template": QUALITY, "labels": LABELS}))
    assert written.fingerprint() != before
    assert written.load()(samples) == scorer(folder).load()(samples)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no template"),
        ('{"labels": ["1", "2"]}', "no template"),
        ('{"template": "{instruction}: "}', "no labels"),
        ('{"template": "{instruction}: ", "labels": [1, 2]}', "no labels"),
        ('{"template": "{instruction}: ", "labels": ["1", "one"]}', "different whole numbers"),
        ('{"template": "{conversation}: ", "labels": ["1", "2"]}', "unknown field {conversation}"),
        ('["1"]', "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_a_scorer_without_usable_settings_is_refused(tmp_path, content, reason):
    folder = tiny_causal(tmp_path)
    if content is not None:
        (folder / "scorer.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        Scorer(model=Checkpoint(str(folder))).load()


@pytest.mark.parametrize(
    "fields",
    [
        {"template": "no field"},
        {"template": "{instruction.__class__}"},
        {"labels": ("1",)},
        {"labels": ("1", " 1")},
        {"labels": ("1", "high")},
        {"max_tokens": 0},
        {"turns": "keep"},
        {"temperature": 0.5},
    ],
)
def test_wrong_fields_are_refused(fields):
    with pytest.raises(ValueError, match="validation error"):
        Scorer(model=Checkpoint("a/b"), **fields)
