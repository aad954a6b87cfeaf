"""Duplicates and ids by arithmetic: `pytest tests/jobs/engine/ingest/test_dedup.py`."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine.ingest import dedup
from jobs.engine.ingest.dedup import Marks, Placed, Placements, groups_of, partitions_of, sort_keys
from jobs.engine.ingest.parse import keys_name
from jobs.engine.ingest.parts import batches_of, fingerprint, fingerprint_share
from jobs.engine.ingest.row_groups import KeyWriter
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 2000), st.data())
def test_marks_rank_and_slice_equal_counting(samples, data):
    marked = sorted(data.draw(st.sets(st.integers(0, samples - 1), max_size=50)))
    marks = Marks.of(iter([np.array(marked, dtype=np.int64)]), samples)
    truth = np.isin(np.arange(samples), marked)
    begin = data.draw(st.integers(0, samples))
    end = data.draw(st.integers(begin, samples))
    assert (marks.within(begin, end) == truth[begin:end]).all()
    assert (marks.ranks(np.arange(samples + 1)) == np.concatenate([[0], np.cumsum(truth)])).all()


def test_partitions_cover_the_hash_and_grow_with_the_rows():
    assert partitions_of(0) == [(0, 1 << 64)]
    bounds = partitions_of(10, 3)
    assert len(bounds) == 4
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 1 << 64
    assert all(left[1] == right[0] for left, right in pairwise(bounds))


@pytest.mark.parametrize("partition_rows", [3, 1000])
@pytest.mark.fault(
    "records repeat one another",
    how="any repeats and partitions, generated",
    holds="what a dictionary finds",
)
def test_repeats_of_any_partitions_equal_a_dictionary(tmp_path, monkeypatch, partition_rows):
    for name, rows in {"PARTITION_ROWS": 12, "GROUP_SPLITS": 2, "DUPLICATES_AT_ONCE": 3}.items():
        monkeypatch.setattr(dedup, name, rows)
    monkeypatch.setattr("jobs.engine.ingest.row_groups.KEYS_AT_ONCE", 10)
    monkeypatch.setattr("jobs.engine.store.runs.FAN_IN", 2)
    monkeypatch.setattr("jobs.engine.store.runs.BLOCK_BYTES", 100)
    interim = Folder.at(str(tmp_path))
    random = np.random.default_rng(1)
    shas = [bytes([int(number) * 16] * 16) for number in random.integers(0, 16, 40)]
    shas[7] = bytes([shas[6][0]] * 8 + [1] * 8)
    sizes, position, splits = [10, 0, 25, 5], 0, []
    for number, size in enumerate(sizes):
        with interim.writing(keys_name(number)) as file:
            writer = KeyWriter(file)
            for first in range(position, position + size, 3):  # as the samples come, a few at a time
                some = range(first, min(first + 3, position + size))
                writer.add([shas[place] for place in some], [place - position + 1 for place in some])
            writer.close()
        splits.append(Placed(number, f"{number}.jsonl", size, position, 100 * number))
        position += size
    placements = Placements(tuple(split for split in splits if split.samples))
    bounds = partitions_of(40, partition_rows)
    files = [name for number, group in enumerate(groups_of(placements)) for name in sort_keys(group, number, interim)]
    assert len(files) == 5  # of 10, 12, 12, 1 and 5 keys
    files = few(interim, files, "head", most=2)
    assert len(files) == 2
    counts = [dedup.find_repeats(files, number, some, interim) for number, some in enumerate(bounds)]
    marks, by_split = dedup.mark_repeats(placements, len(bounds), interim)
    written = dedup.write_duplicates(placements, marks, len(bounds), interim, interim)
    expected, ids = [], {}
    for place, sha in enumerate(shas):
        split = next(split for split in splits if split.position <= place < split.position + split.samples)
        if sha in ids:
            line = split.lines_before + place - split.position + 1
            expected.append({"source": split.uri, "line": line, "id": ids[sha]})
        else:
            ids[sha] = len(ids)
    with interim.reading("duplicates.parquet") as file:
        assert dedup.pq.read_table(file).to_pylist() == expected
    assert written == sum(counts) == sum(by_split.values()) == len(expected)


def test_batches_join_small_splits_and_divide_large_ones():
    sizes = [10, 65_530, 0, 200_000, 5]
    positions = np.cumsum([0, *sizes])
    splits = tuple(Placed(n, "x", size, int(positions[n]), 0) for n, size in enumerate(sizes))
    batches = batches_of(Placements(splits), {0: 4, 1: 0, 2: 0, 3: 0, 4: 0})
    assert [[split.number for split in batch.splits] for batch in batches] == [[0, 1], [3], [4]]
    parts = [part for batch in batches for part in batch.parts()]
    assert [part["file"] for part in parts] == [f"part-{n:05d}.parquet" for n in range(6)]
    assert [part["rows"] for part in parts] == [65_536, 65_536, 65_536, 65_536, 3392, 5]
    assert [part["first"] for part in parts] == [0, 65_536, 131_072, 196_608, 262_144, 265_536]


def test_fingerprint_is_of_the_samples_in_order_and_not_of_their_division():
    shas = [bytes([n] * 16) for n in range(9)]
    whole = fingerprint(9, [fingerprint_share(0, shas)])
    assert fingerprint(9, [fingerprint_share(4, shas[4:]), fingerprint_share(0, shas[:4])]) == whole
    assert fingerprint(9, [fingerprint_share(0, shas[::-1])]) != whole
    assert fingerprint(0, []) != whole
