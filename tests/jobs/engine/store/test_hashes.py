"""Hashes that are sorted and searched, against what Python says of the bytes."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from jobs.engine.store import hashes as kernel
from jobs.engine.store.hashes import Hashes, ascending, halves, hashes, joined
from jobs.engine.store.taking import Lacking

SHAS = st.one_of(
    st.binary(min_size=16, max_size=16),
    st.sampled_from([b"\0" * 16, b"\xff" * 16, b"\0" * 15 + b"\1", b"a" * 8 + b"b" * 8, b"a" * 8 + b"c" * 8]),
    st.binary(min_size=8, max_size=8).map(lambda end: b"a" * 8 + end),  # which the first bits do not tell apart
)


@given(st.lists(SHAS, max_size=60), st.lists(SHAS, max_size=20), st.sampled_from([1, 5, 8192]))
def test_hashes_are_sorted_and_found_as_their_bytes_are(shas, others, lot):
    column = hashes(pa.chunked_array([pa.array(shas, pa.binary(16))]))
    kept, kernel.LOT = kernel.LOT, lot
    try:
        order, first, last = ascending(*halves(column))
    finally:
        kernel.LOT = kept
    assert order.tolist() == sorted(range(len(shas)), key=lambda at: (shas[at], at))
    assert joined(first, last) == b"".join(sorted(shas))
    different = sorted(set(shas))
    sought = shas + others
    found = Hashes.of(*halves(np.array(different, "S16"))).positions(*halves(np.array(sought, "S16")))
    assert found.tolist() == [different.index(each) if each in different else -1 for each in sought]


@given(st.lists(st.sampled_from("abcde"), max_size=30), st.lists(st.sampled_from("abcdefg"), max_size=30))
def test_each_sample_that_lacks_a_value_is_given_the_first_row_with_its_hash_once(lacking, rows):
    shas = [each.encode() * 16 for each in lacking]
    some = Lacking.of(pa.table({"id": pa.array(range(len(shas)), pa.int64()), "sha": pa.array(shas, pa.binary(16))}))
    repeats = [at for at, each in enumerate(lacking) if each in lacking[:at]]
    assert sorted(some.repeats().tolist()) == repeats
    sought = np.array([each.encode() * 16 for each in rows], "S16")
    given_by, places = some.found(sought)
    pairs = dict(zip(some.ids[places].tolist(), given_by.tolist(), strict=True))
    assert pairs == {at: rows.index(each) for at, each in enumerate(lacking) if each in rows}
    assert some.given == len(pairs)
    assert some.shas(places) == b"".join(sought[given_by].tobytes()[i : i + 16] for i in range(0, 16 * len(places), 16))
    assert len(some.found(sought)[0]) == 0
