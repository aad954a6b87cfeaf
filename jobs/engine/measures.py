"""What the report compares the kept samples and their pool by: lengths, turns, source, format and script."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jobs.engine.ingest import RecordFault, messages_of
from jobs.engine.outcome import Outcome
from jobs.engine.pool import Pool
from jobs.engine.samples import read_samples
from operators.sample import Message, instruction, joined, response, turns

LOOKED_AT = 20_000
SCRIPT_CHARACTERS = 20_000
LARGEST_FIRST = 12

NONE, LATIN, CYRILLIC, ARABIC, CJK, OTHER = range(6)
SCRIPTS = ("no letters", "Latin", "Cyrillic", "Arabic", "CJK", "other")

# Where each run of Unicode blocks begins, and the script that its letters are counted for.
BLOCKS = (
    (0x0, NONE), (0x41, LATIN), (0x5B, NONE), (0x61, LATIN), (0x7B, NONE), (0xAA, LATIN), (0xAB, NONE),
    (0xC0, LATIN), (0x2B0, NONE), (0x370, OTHER), (0x400, CYRILLIC), (0x530, OTHER), (0x600, ARABIC),
    (0x700, OTHER), (0x750, ARABIC), (0x780, OTHER), (0x870, ARABIC), (0x900, OTHER), (0x1100, CJK),
    (0x1200, OTHER), (0x1C80, CYRILLIC), (0x1C90, OTHER), (0x1D00, LATIN), (0x1DC0, NONE), (0x1E00, LATIN),
    (0x1F00, OTHER), (0x2000, NONE), (0x2C00, OTHER), (0x2C60, LATIN), (0x2C80, OTHER), (0x2DE0, CYRILLIC),
    (0x2E00, NONE), (0x2E80, CJK), (0x2FF0, NONE), (0x3005, CJK), (0x3008, NONE), (0x3041, CJK), (0x3200, NONE),
    (0x3400, CJK), (0x4DC0, NONE), (0x4E00, CJK), (0xA000, OTHER), (0xA640, CYRILLIC), (0xA6A0, OTHER),
    (0xA720, LATIN), (0xA800, OTHER), (0xA960, CJK), (0xA980, OTHER), (0xAB30, LATIN), (0xAB70, OTHER),
    (0xAC00, CJK), (0xD800, NONE), (0xF900, CJK), (0xFB00, LATIN), (0xFB07, OTHER), (0xFB50, ARABIC),
    (0xFE00, NONE), (0xFE70, ARABIC), (0xFEFD, NONE), (0xFF21, LATIN), (0xFF3B, NONE), (0xFF41, LATIN),
    (0xFF5B, NONE), (0xFF66, CJK), (0xFFDD, NONE), (0x10000, OTHER), (0x1D000, NONE), (0x1DF00, LATIN),
    (0x1E000, OTHER), (0x1F000, NONE), (0x20000, CJK), (0x32400, NONE),
)  # fmt: skip
STARTS = np.array([start for start, _ in BLOCKS], np.uint32)
SCRIPT_OF = np.array([script for _, script in BLOCKS])


@dataclass(frozen=True)
class Measures:
    """The samples that were looked at and what was measured of them; arrays aligned with one another."""

    of_pool: np.ndarray
    """Which of them stand for the pool."""
    of_kept: np.ndarray
    """Which of them stand for the kept samples."""
    instruction: np.ndarray
    """Characters the user wrote."""
    response: np.ndarray
    """Characters the assistant wrote."""
    labels: Mapping[str, np.ndarray]
    """Labels by what the report calls them: source file, format, script, turns."""


class Share(NamedTuple):
    """How often a label occurs, as shares of the samples looked at."""

    label: str
    pool: float
    kept: float


def measures(outcome: Outcome) -> Measures:
    """The measures of a seeded random choice of the pool and of the kept, at most LOOKED_AT of each."""
    pool, kept = outcome.pool, outcome.selection.ids
    random = np.random.default_rng(outcome.manifest["run"]["fields"].get("seed", 0))
    of_pool = _drawn(random, pool.samples)
    of_kept = kept[_drawn(random, len(kept))]
    ids = np.union1d(of_pool, of_kept)
    known = _formats(pool)
    columns = ["source", "messages", *([] if known and all(known.values()) else ["raw"])]
    lengths: list[tuple[int, int]] = []
    labels: dict[str, list[str]] = {"source file": [], "format": [], "script": [], "turns": []}
    for table in read_samples(pool.parts, ids, columns):
        for row in table.to_pylist():
            messages = row["messages"]
            lengths.append((len(instruction(messages)), len(response(messages))))
            labels["source file"].append(row["source"])
            labels["format"].append(known.get(row["source"]) or _recognised(row.get("raw")))
            labels["script"].append(script(joined(messages, "system", "user", "assistant")))
            labels["turns"].append(_turns(messages))
    both = np.array(lengths, np.int64).reshape(-1, 2)
    objects = {name: np.array(values, object) for name, values in labels.items()}
    return Measures(np.isin(ids, of_pool), np.isin(ids, of_kept), both[:, 0], both[:, 1], objects)


def _drawn(random: np.random.Generator, size: int) -> np.ndarray:
    """Positions 0 … size - 1, ascending; a random LOOKED_AT of them where there are more."""
    if size <= LOOKED_AT:
        return np.arange(size)
    return np.sort(random.choice(size, LOOKED_AT, replace=False, shuffle=False))


def _formats(pool: Pool) -> dict[str, str]:
    """The format of each source whose samples all have the same one; empty text for the other sources."""
    found: dict[str, str] = {}
    for source in pool.facts.get("sources", []):
        formats = list(source.get("formats") or {})
        found[source["uri"]] = formats[0] if len(formats) == 1 else ""
    return found


def _recognised(raw: bytes | None) -> str:
    """The format of a record as it came in."""
    try:
        return messages_of(json.loads(raw or b"null"))[0]
    except (RecordFault, ValueError, TypeError):
        return "not known"


def _turns(messages: Sequence[Message]) -> str:
    count = len(turns(messages))
    for most, label in ((3, str(count)), (5, "4 to 5"), (10, "6 to 10")):
        if count <= most:
            return label
    return "more than 10"


def script(text: str) -> str:
    """The script that most of a text's letters belong to, by Unicode blocks.

    >>> script("Hello"), script("你好, GPT"), script("привет, GPT"), script("123")
    ('Latin', 'Latin', 'Cyrillic', 'no letters')
    """
    points = np.frombuffer(text[:SCRIPT_CHARACTERS].encode("utf-32-le", "surrogatepass"), np.uint32)
    letters = np.bincount(SCRIPT_OF[np.searchsorted(STARTS, points, side="right") - 1], minlength=len(SCRIPTS))
    letters[NONE] = 0
    return SCRIPTS[int(letters.argmax())]


def composition(labels: np.ndarray, measured: Measures) -> list[Share]:
    """The share of each label in the pool and among the kept, the pool's most frequent first."""
    of_pool, of_kept = Counter(labels[measured.of_pool]), Counter(labels[measured.of_kept])
    in_pool, in_kept = max(of_pool.total(), 1), max(of_kept.total(), 1)
    order = sorted({*of_pool, *of_kept}, key=lambda label: (-of_pool[label], label))
    if len(order) <= LARGEST_FIRST:
        named, rest = order, []
    else:
        named, rest = order[: LARGEST_FIRST - 1], order[LARGEST_FIRST - 1 :]
    shares = [Share(label, of_pool[label] / in_pool, of_kept[label] / in_kept) for label in named]
    if rest:
        several = [sum(counted[label] for label in rest) for counted in (of_pool, of_kept)]
        shares.append(Share(f"{len(rest):,} others", several[0] / in_pool, several[1] / in_kept))
    return shares


def short_names(sources: Sequence[str]) -> dict[str, str]:
    """Each source without the folders that they all have in common.

    >>> short_names(["/data/a/x.jsonl", "/data/b/x.jsonl"])
    {'/data/a/x.jsonl': 'a/x.jsonl', '/data/b/x.jsonl': 'b/x.jsonl'}
    """
    split = [source.split("/") for source in sources]
    common = 0
    while split and all(len(parts) > common + 1 and parts[common] == split[0][common] for parts in split):
        common += 1
    return {source: "/".join(parts[common:]) for source, parts in zip(sources, split, strict=True)}
