"""MinHash of texts: the sets of their shingles, signatures that agree where the sets do, and bands to find them by.

>>> hashes, starts = shingles(["near duplicates", "near duplicate!"])
>>> signatures(hashes, starts).shape, round(jaccard(*map(np.unique, np.split(hashes, starts[1:]))), 2)
((2, 128), 0.83)

Two signatures agree at each place with a probability of the Jaccard similarity of the sets. Texts share a band where
their signatures agree at all of the places of the band; with b bands of r places, sets of similarity s share at least
one with a probability of 1 - (1 - s^r)^b.
"""

from collections.abc import Sequence

import numpy as np

SHINGLE = 5
"""The number of characters of a shingle."""

PLACES = 128
"""The number of places of a signature."""

RECALL = 0.99
"""The least probability with which texts at the threshold share a band."""

AT_ONCE = 1 << 16
"""The number of shingles whose signatures are computed at once, so that they stay in the processor's cache."""

RAW = np.random.PCG64(20_260_101)  # whose raw numbers are the same in every release
FACTORS = RAW.random_raw(SHINGLE) | np.uint64(1)
SCALES = (RAW.random_raw(PLACES) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
SHIFTS = (RAW.random_raw(PLACES) >> np.uint64(32)).astype(np.uint32)
PLACE_FACTORS = RAW.random_raw(PLACES) | np.uint64(1)
BAND_NUMBERS = RAW.random_raw(PLACES)


def shingles(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of the shingles of all texts, one text after another, and where each text begins.

    texts: at least one. A text that is shorter than a shingle is one shingle, filled up with NUL characters. Returns
    hashes (uint64), one per place of a text at which a shingle begins, and starts (int64), one per text.
    """
    filled = [text if len(text) >= SHINGLE else text.ljust(SHINGLE, "\0") for text in texts]
    points = np.frombuffer("".join(filled).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, filled), np.int64, len(filled))
    ends = np.cumsum(lengths)
    count = len(points) - SHINGLE + 1
    hashes = points[:count] * FACTORS[0]
    for place in range(1, SHINGLE):
        hashes += points[place : place + count] * FACTORS[place]
    within = np.ones(count, bool)
    for place in range(1, SHINGLE):  # a shingle does not go on in the next text
        within[ends[:-1] - place] = False
    hashes = _mixed(hashes[within])
    sizes = lengths - SHINGLE + 1
    return hashes, np.cumsum(sizes) - sizes


def signatures(hashes: np.ndarray, starts: np.ndarray, places: int = PLACES) -> np.ndarray:
    """The signature of each text: per place the least of its shingles' hashes under that place's permutation.

    hashes, starts: of `shingles`. places: the number of places, at most PLACES. Returns (texts, places), uint32.
    """
    signed = np.empty((len(starts), places), np.uint32)
    high = (hashes >> np.uint64(32)).astype(np.uint32)
    bounds = np.append(starts, len(hashes))
    begin = 0
    while begin < len(starts):
        end = max(begin + 1, int(np.searchsorted(bounds, bounds[begin] + AT_ONCE, side="right")) - 1)
        some = high[bounds[begin] : bounds[end]]
        here = bounds[begin:end] - bounds[begin]
        permuted = np.empty_like(some)
        for place in range(places):
            np.multiply(some, SCALES[place], out=permuted)
            np.add(permuted, SHIFTS[place], out=permuted)
            signed[begin:end, place] = np.minimum.reduceat(permuted, here)
        begin = end
    return signed


def banding(threshold: float) -> tuple[int, int]:
    """The number of bands and of places in each: as many places as leave a recall of RECALL at the threshold.

    >>> banding(0.9), banding(0.5), banding(1.0)
    ((12, 10), (42, 3), (1, 128))
    """
    for rows in range(PLACES, 1, -1):
        bands = PLACES // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands, rows
    return PLACES, 1


def band_keys(signed: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """A hash of each band of each signature and of the band's number: (texts, bands), uint64."""
    places = signed[:, : bands * rows].reshape(len(signed), bands, rows).astype(np.uint64)
    factors, numbers = PLACE_FACTORS[:rows], BAND_NUMBERS[:bands]
    return _mixed((_mixed(places + numbers[:, None]) * factors).sum(axis=2, dtype=np.uint64) + numbers)


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """The number of values in both sets over that in either; one, other: sorted, each value once, not both empty."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The values with each bit spread over all others, as in MurmurHash's last step."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
