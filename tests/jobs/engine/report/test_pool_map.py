"""The samples on the map, and how much of the page their texts take."""

import json

import numpy as np
import pytest
from markupsafe import Markup

from jobs.engine.report import pool_map
from jobs.engine.report.display import plain
from jobs.engine.report.excerpts import _texts
from jobs.engine.report.pool_map import _told, drawn, fitted
from jobs.engine.report.rendering import _environment
from jobs.engine.report.vectors import Vectors
from tests.jobs.engine.report.pretend import HOSTILE_TEXTS, pool_of, vectors_for


@pytest.fixture
def stored(tmp_path):
    """A pool, and its vectors in the store."""
    pool = pool_of(tmp_path / "pool", 90, (), 0, {}, "b.json")
    vectors = vectors_for(pool, np.random.default_rng(0).normal(size=(80, 4)))
    return pool, Vectors(vectors.feature, "the column embed")


def test_all_kept_samples_are_drawn_up_to_a_bound_and_others_fill_the_map(stored, monkeypatch):
    pool, vectors = stored
    monkeypatch.setattr(pool_map, "POINTS", 40)
    monkeypatch.setattr(pool_map, "KEPT_POINTS", 25)
    few = np.array([70, 3, 85, 9])  # 85 has no vector
    found = drawn(vectors, pool.samples, few, 7)
    assert {70, 3, 9} <= {*found.ids.tolist()}
    assert (len(found.ids), found.having, found.kept_having) == (40, 80, 3)
    assert found.ids.max() < 80
    assert (np.diff(found.ids) > 0).all()
    many = drawn(vectors, pool.samples, np.arange(50), 7)
    assert (many.ids < 50).sum() == 25
    assert len(many.ids) == 40
    assert np.array_equal(many.points, drawn(vectors, pool.samples, np.arange(50), 7).points)
    assert not np.array_equal(many.ids, drawn(vectors, pool.samples, np.arange(50), 8).ids)


@pytest.mark.parametrize(
    "text", [*HOSTILE_TEXTS, "<" * 900, "字" * 900, "\U0001f600" * 900, "\u202e" * 900, "a\n" * 900]
)
def test_a_text_takes_no_more_of_the_page_than_it_may(text):
    cut, _ = fitted(text, 300)
    written = _environment().from_string("{{ text|tojson }}").render(text=Markup(cut))
    assert len(written.encode()) <= 300 + len('"" …'.encode())
    assert plain(text).startswith(cut.removesuffix(" …"))
    assert json.loads(written) == cut


def test_the_calls_of_an_answer_without_a_text_are_shown():
    call = '[{"name": "天气", "arguments": {}}]'
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": call}]
    assert _told(messages, 1000) == [("user", "q"), ("assistant", call)]
    assert [(each.role, each.preview) for each in _texts(messages)] == [("user", "q"), ("assistant", call)]


def test_a_short_text_is_whole():
    assert fitted("שלום \U0001f600 <b>", 300) == ("שלום \U0001f600 <b>", 8 + 1 + 4 + 1 + 13)
