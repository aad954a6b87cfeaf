"""How fast are near duplicates found among short texts, and how many of them are found?

    python -m benchmarks.near_duplicates [--texts 100000] [--sample 2000] [--threshold 0.9]

Makes texts of about 230 characters, like news, a third of them in Chinese. A seventh repeat an earlier text with a few
characters changed. Finds the near duplicates as ingest does, without its files: the bands of all texts, the groups that
share one, and the exact comparison within these. On a sample of the texts, which keeps the changed ones beside their
originals, the reference is the exact Jaccard similarity of all pairs. Prints one JSON line. `recall`: the share of the
reference's pairs that share a band; `same_decisions`: the share of the sample's texts on which both decide alike;
`seconds`: CPU seconds for all texts, in one process; `ratio`: the naive form's CPU seconds per pair of texts, times the
pairs of all texts, over ours. The goal is the speed that SemHash publishes for a CPU, 100,000 short texts in 11 s, with
a recall of at least 0.87.
"""

from typing import Any

import numpy as np

from benchmarks._run import cpu_seconds, options, printed
from jobs.engine.ingest.before.near import Staying, keys_of, lots_of, sharing
from operators.kernels.minhash import SHINGLE, banding

AT_ONCE = 4096
CHANGED = 1 / 7
LATIN = [*"abcdefghijklmnopqrstuvwxyz"]
HAN = [chr(0x4E00 + place) for place in range(3000)]


def made(count: int) -> list[str]:
    """The texts."""
    random = np.random.default_rng(0)
    latin = ["".join(random.choice(LATIN, size)) for size in random.integers(2, 10, 20_000)]
    texts: list[str] = []
    for _ in range(count):
        if texts and random.random() < CHANGED:
            text = list(texts[len(texts) - 1 - int(random.integers(min(len(texts), 50)))])
            for place in random.integers(0, len(text), int(random.integers(1, 5))):
                text[place] = "x"
            texts.append("".join(text))
        elif random.random() < 1 / 3:
            texts.append("".join(HAN[place] for place in random.integers(0, len(HAN), 230)))
        else:
            texts.append(" ".join(latin[place] for place in random.integers(0, len(latin), 36)))
    return texts


def connected(texts: list[str], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that share a band: each text with the first one that has the band."""
    bands, rows = banding(threshold)
    keys = [keys_of(texts[at : at + AT_ONCE], bands, rows) for at in range(0, len(texts), AT_ONCE)]
    return sharing(np.concatenate(keys).ravel(), np.repeat(np.arange(len(texts)), bands))


def ours(texts: list[str], threshold: float) -> dict[int, int]:
    """The near duplicates, each with the first text that it is like."""
    found: dict[int, int] = {}
    for lot in lots_of(*connected(texts, threshold)):
        stays = Staying(threshold)
        for begin in range(0, len(lot), AT_ONCE):
            some = lot[begin : begin + AT_ONCE]
            found |= {number: first for number, first, _ in stays.repeats(some, [texts[place] for place in some])}
    return found


def naive(texts: list[str], threshold: float) -> tuple[set[tuple[int, int]], dict[int, int]]:
    """The pairs at the threshold, and the near duplicates, by comparing all pairs."""
    sets = [{text[at : at + SHINGLE] for at in range(max(1, len(text) - SHINGLE + 1))} for text in texts]
    pairs = {
        (one, other)
        for other in range(len(sets))
        for one in range(other)
        if (both := len(sets[one] & sets[other])) >= threshold * (len(sets[one]) + len(sets[other]) - both)
    }
    found: dict[int, int] = {}
    for one, other in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
        if one not in found:
            found.setdefault(other, one)
    return pairs, found


def measured(count: int, sample: int, threshold: float) -> dict[str, Any]:
    """The line."""
    texts = made(count)
    some = texts[:sample]
    ours(some, threshold)  # loads the libraries
    seconds, found = cpu_seconds(lambda: ours(texts, threshold))
    naive_seconds, (pairs, expected) = cpu_seconds(lambda: naive(some, threshold))
    naive_seconds *= (count / sample) ** 2
    bands, rows = banding(threshold)
    keys = keys_of(some, bands, rows)
    hit = sum(bool(np.any(keys[one] == keys[other])) for one, other in pairs)
    decided = ours(some, threshold)
    alike = sum(decided.get(number) == expected.get(number) for number in range(len(some)))
    return {
        "benchmark": "near_duplicates", "texts": count, "characters": round(sum(map(len, texts)) / count),
        "threshold": threshold, "found": len(found), "seconds": round(seconds, 2),
        "texts_per_second": round(count / seconds), "sample": len(some), "pairs": len(pairs),
        "recall": round(hit / max(len(pairs), 1), 4), "same_decisions": round(alike / len(some), 4),
        "ratio": round(naive_seconds / seconds),
    }  # fmt: skip


def main() -> None:
    parser = options(__doc__, texts=100_000, threshold=0.9)
    parser.add_argument("--sample", type=int, default=2000, help="texts of which all pairs are compared")
    given = parser.parse_args()
    printed(measured(given.texts, given.sample, given.threshold))


if __name__ == "__main__":
    main()
