"""The corpora of the evidence: a planted one and the real files, with the samples that are kept apart from them."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._made import records
from jobs.demo.corpus import corpus

KINDS = ("ordinary", "rare", "near_duplicate", "junk", "wrong", "target")
WRONG = 0.1
"""The share of a planted corpus whose answers are those of others."""

LONGEST_TARGET = 700
"""The characters of a target's record above which the base might not read it to its end; it is none then."""

TARGETS, HELD_OUT, BEGUN = 20, 200, 600
"""How many target and held-out samples there are, and how many the base of the fine-tunes is trained on before."""


@dataclass(frozen=True)
class Data:
    """What a comparison is made on. No sample is in two of the four."""

    files: Mapping[str, Sequence[Mapping[str, Any]]]
    """The records of the corpus by the names of its files."""
    targets: Sequence[Mapping[str, Any]]
    begun: Sequence[Mapping[str, Any]]
    """What the base of the fine-tunes is trained on before."""
    held_out: Sequence[Mapping[str, Any]]


def planted(samples: int, seed: int) -> Data:
    """A corpus whose records say by `kind` what they are.

    A tenth of the samples has the answer of another one. The target kind is one topic of the demo's corpus. Targets and
    a tenth of the held-out samples are of it; the others of these, and all that the base is trained on, are ordinary.
    Neither has a near-duplicate in the corpus.
    """
    drawn = random.Random(seed)
    aside = TARGETS + HELD_OUT + BEGUN
    made: list[dict[str, Any]] = list(corpus(2 * aside + samples, seed))
    groups = Counter(each["group"] for each in made)
    single = [each for each in made if each["kind"] == "ordinary" and groups[each["group"]] == 1]
    kind = Counter(each["topic"] for each in single).most_common(1)[0][0]
    for each in made:
        if each["topic"] == kind and each["kind"] == "ordinary":
            each["kind"] = "target"
    targets = drawn.sample([each for each in single if each["kind"] == "target"], TARGETS + HELD_OUT // 10)
    others = drawn.sample([each for each in single if each["kind"] == "ordinary"], HELD_OUT * 9 // 10 + BEGUN)
    out = {id(each) for each in (*targets, *others)}
    rest = [each for each in made if id(each) not in out]
    kept = [rest[at] for at in sorted(drawn.sample(range(len(rest)), samples))]
    wrong = drawn.sample([each for each in kept if each["kind"] == "ordinary"], round(WRONG * samples))
    answers = [each["output"] for each in wrong]
    for each, answer in zip(wrong, [*answers[1:], *answers[:1]], strict=True):
        each.update(output=answer, kind="wrong")
    return Data({"planted": kept}, targets[:TARGETS], others[:BEGUN], [*targets[TARGETS:], *others[BEGUN:]])


def real(data: Path, seed: int) -> Data:
    """The records of the two files. What is drawn from them for another purpose is not in the corpus.

    Targets are Dolly's, each category a subtask; of 20 that are drawn, those that the base reads as a whole. Alpaca's
    records, which have none, get the category "alpaca".
    """
    drawn = random.Random(seed)
    files = {name: records(data / f"{name}.json") for name in ("alpaca_9k", "dolly_3k")}
    files["alpaca_9k"] = [{**each, "category": "alpaca"} for each in files["alpaca_9k"]]
    whole = {json.dumps(each, sort_keys=True): each for some in files.values() for each in some if each["output"]}
    dolly = [key for key, each in whole.items() if each["category"] != "alpaca"]
    targets = drawn.sample(dolly, TARGETS)
    aside = drawn.sample([key for key in whole if key not in set(targets)], HELD_OUT + BEGUN)
    out = {*targets, *aside}
    corpus_files = {
        name: [each for each in some if json.dumps(each, sort_keys=True) not in out] for name, some in files.items()
    }
    short = [whole[key] for key in targets if len(key) < LONGEST_TARGET]
    asked = [{**each, "subtask": each["category"]} for each in short]
    return Data(corpus_files, asked, [whole[key] for key in aside[:BEGUN]], [whole[key] for key in aside[BEGUN:]])
