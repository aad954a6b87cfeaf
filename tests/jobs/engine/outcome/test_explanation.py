"""The nearest kept sample, compared with its definition."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.execute.columns import column
from jobs.engine.outcome.explanation import explain, ledger_rows, nearest_kept
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError


def stored(folder, vectors, rows) -> Feature:
    """The vectors as a stored feature; rows: the number of rows per part."""
    feature = Feature(str(folder))
    for first in range(0, len(vectors), rows):
        ids = np.arange(first, min(first + rows, len(vectors)))
        values, errors = column(vectors[ids], len(ids))
        feature.write(ids, pa.nulls(len(ids), pa.binary(16)), values, errors)
    return feature


def by_definition(vectors, sample, kept) -> tuple[int, float]:
    """The nearest kept sample by one cosine after the other; among equal cosines the first one counts."""
    best, highest = -1, -np.inf
    for each in kept:
        a, b = vectors[sample].astype(np.float64), vectors[each].astype(np.float64)
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        if cosine > highest + 1e-9:
            best, highest = int(each), cosine
    return best, highest


@pytest.mark.parametrize("rows", [7, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nearest_kept_is_the_highest_cosine_whatever_the_lengths(tmp_path, rows, dtype):
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((200, 48)) * rng.uniform(0.1, 9, (200, 1))).astype(dtype)
    kept = rng.permutation(200)[:60]
    feature = stored(tmp_path, vectors, rows)
    for sample in np.setdiff1d(np.arange(200), kept)[::4]:
        expected, cosine = by_definition(vectors, sample, kept)
        found, similarity = nearest_kept(feature, int(sample), kept)
        assert found == expected
        assert similarity == pytest.approx(cosine, abs=1e-6)


@pytest.mark.parametrize("rows", [3, 1000])
def test_of_equal_ones_the_best_ranked_is_the_nearest(tmp_path, rows):
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((40, 33)).astype(np.float16)
    vectors[[2, 11, 23, 38]] = vectors[5]  # 5 was dropped, and its copies were kept
    feature = stored(tmp_path, vectors, rows)
    for kept in ([30, 23, 38, 2, 11], [11, 38, 30], [1, 38, 2]):
        found, similarity = nearest_kept(feature, 5, np.array(kept))
        assert found == by_definition(vectors, 5, kept)[0]
        assert similarity == pytest.approx(1, abs=1e-6)


def test_a_vector_of_zeros_is_like_nothing(tmp_path):
    vectors = np.eye(4, dtype=np.float32)
    vectors[0] = 0
    assert nearest_kept(stored(tmp_path, vectors, 2), 0, np.array([3, 1])) == (3, 0.0)


@pytest.fixture
def run(tmp_path):
    """The output folder of a run whose ledger has two samples, a duplicate of the first, and a quarantined record."""
    columns = {
        "source": ["hf://a:b.jsonl", "数据.jsonl", "数据.jsonl", "数据.jsonl"],
        "line": [12, 1, 2, 3],
        "id": [0, 1, 0, None],
        "state": ["kept", "dropped", "duplicate", "quarantined"],
    }
    pq.write_table(pa.table(columns), tmp_path / "selection.parquet")
    return Folder.at(tmp_path)


@pytest.mark.parametrize(
    ("which", "lines"), [("0", [12, 2]), ("hf://a:b.jsonl:12", [12]), ("数据.jsonl:2", [2]), ("数据.jsonl:3", [3])]
)
def test_a_sample_is_found_by_its_id_before_its_duplicates_or_by_its_place(run, which, lines):
    assert [row["line"] for row in ledger_rows(run, which)] == lines


@pytest.mark.parametrize("which", ["2", "数据.jsonl:9", "9.jsonl:1", str(2**63 - 1)])
def test_a_sample_that_is_not_there_is_refused(run, which):
    with pytest.raises(UsageError, match=f"has no {which}; name a sample by its id or by source:line"):
        ledger_rows(run, which)


@pytest.mark.parametrize("which", ["-1", "数据.jsonl", "数据.jsonl:x", ":", str(2**63), f"数据.jsonl:{2**63}"])
def test_what_names_no_sample_is_refused(run, which):
    with pytest.raises(UsageError, match="is neither a sample's id nor source:line"):
        ledger_rows(run, which)


def test_a_run_that_selected_nothing_such_as_a_training_is_refused(tmp_path):
    (tmp_path / "manifest.yaml").write_text("finished: 2026-01-01\nrun: {recipe: finetune}\n")
    with pytest.raises(UsageError, match="holds no selection: `winnow curate` writes one"):
        explain(Folder.at(tmp_path), "0")


def test_places_like_the_one_that_was_asked_for_are_listed(tmp_path):
    sources = ["data/base.jsonl", "old/base.jsonl", "data/base.jsonl", "other.jsonl", "data/all.json#train"]
    ledger = {"id": [0, 1, 2, 3, 4], "source": sources, "line": [4, 4, 5, 4, 4], "state": ["kept"] * 5}
    pq.write_table(pa.table(ledger), tmp_path / "selection.parquet")

    def told(which) -> str:
        with pytest.raises(UsageError) as caught:
            ledger_rows(Folder(str(tmp_path)), which)
        return str(caught.value)

    assert told("base.jsonl:4").endswith("did you mean data/base.jsonl:4, old/base.jsonl:4?")
    assert told("./base.jsonl:5").endswith("did you mean data/base.jsonl:5?")
    assert told("elsewhere/other.jsonl:4").endswith("did you mean other.jsonl:4?")
    assert told("all.json:4").endswith("did you mean data/all.json#train:4?")
    assert told("base.jsonl:6").endswith("name a sample by its id or by source:line")
