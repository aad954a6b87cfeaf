"""Training pairs: the variants that have a score, each with its origin."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.terminal.errors import WinnowError
from jobs.methods.evolution.rewriting import Step
from jobs.methods.evolution.verdicts import Verdicts
from operators.asking.evolve import Dimension, variants


def pairs(
    pool: Pool, seeds: np.ndarray, chains: Pool, dimension: Dimension, steps: Sequence[Step], verdicts: Verdicts
) -> Iterator[dict[str, Any]]:
    """One training pair per variant that has a score, chain by chain.

    pool, seeds: the samples that the chains start from, as in `Begun`. chains: the pool after the last step. Yields the
    rows of pairs.jsonl.
    """
    kept = verdicts.kept
    origins = _rows(pool.parts, seeds[kept], ["id", "source", "line"])
    for chain, origin, row in zip(kept.tolist(), origins, _rows(chains.parts, kept, ["messages"]), strict=True):
        made = [(0, "", "")] + [
            (number, step.methods[chain], step.outcomes[chain])
            for number, step in enumerate(steps, start=1)
            if step.made[chain]
        ]
        texts = variants(row["messages"], dimension)
        scores = verdicts.rankings[chain].scores
        for (number, method, outcome), text, score in zip(made, texts, scores, strict=True):
            if score is None:
                continue
            pair = {"instruction": text}
            if dimension == "quality":
                pair = {"instruction": row["messages"][0]["content"], "response": text}
            yield {
                **pair,
                "score": score,
                "seed": origin["id"],
                "source": origin["source"],
                "line": origin["line"],
                "step": number,
                "method": method,
                "outcome": outcome,
                "flat": verdicts.words[chain] == "flat",
            }


def _rows(parts: Parts, ids: np.ndarray, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for table in read_samples(parts, ids, columns):
        yield from table.to_pylist()


def refuse_lost(counts: Mapping[str, Any], verdicts: Verdicts) -> None:
    """Raises WinnowError where the counts do not add up, so that a seed or a scored variant was lost."""
    seeds = counts["unusable"] + counts["repeated"] + sum(counts["seeds"].values())
    scored = sum(verdicts.rankings[chain].scored for chain in verdicts.kept.tolist())
    if seeds != counts["drawn"] or scored != counts["pairs"]:
        raise WinnowError(f"the evolution does not add up: {scored} variants with a score, {counts}")
