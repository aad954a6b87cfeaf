"""Runs an evolution, from its inputs to pairs.jsonl.

    seeds ─ Evolve ─► chains of 2 ─ … ─ Evolve ─► chains of 6 ─ Compare, again where scores are missing ─► pairs.jsonl

The replies about the chains of a step are a feature of their pool (chains.py). A run that was stopped does not ask an
answered question again.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jobs.engine.execute.session import Session
from jobs.engine.execute.starting import started
from jobs.engine.outcome.manifest import claimed, ending, wanted_of, write_manifest
from jobs.engine.pool.pool import Pool
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import NothingSelected, WinnowError
from jobs.engine.terminal.screen import say
from jobs.methods.evolution.chains import begun
from jobs.methods.evolution.declaration import Evolution
from jobs.methods.evolution.rewriting import Step, counted, evolved, refuse_short
from jobs.methods.evolution.verdicts import Verdicts, rated_chains
from operators.asking.evolve import Dimension, variants
from operators.kernels.sampling import random_order


def evolve(wanted: Evolution, inputs: Sequence[str], out: Folder, session: Session) -> dict[str, Any]:
    """Runs an evolution, writes pairs.jsonl and manifest.yaml into `out`, and returns the manifest's counts.

    UsageError where `out` belongs to another run. NothingSelected where no sample can be evolved. Unanswered where too
    many replies are of no use. WinnowError where the counts do not add up.
    """
    began = time.monotonic()
    with started(session, vars(wanted)):
        pool = Pool.of(inputs, session)
        identity = claimed("winnow_evolution", wanted_of("evolve", inputs, wanted, session), pool, out)
        ids = np.sort(random_order(pool.samples, wanted.seed)[: wanted.seeds])
        first = begun(pool, ids, wanted.dimension)
        drawn = {"drawn": len(ids), "unusable": first.unusable, "repeated": first.repeated}
        say(
            f"evolve: {len(first.seeds):,} seeds of {pool.samples:,} samples ({first.unusable:,} without a usable turn)"
        )
        if not len(first.seeds):
            raise NothingSelected(f"no sample of {', '.join(inputs)} has the texts to evolve for {wanted.dimension}")
        chains, steps = evolved(Pool.open(first.folder, session), wanted)
        lengths = 1 + np.sum([step.made for step in steps], axis=0)
        refuse_short(wanted, steps, lengths)
        verdicts = rated_chains(chains, wanted, lengths)
        rows = pairs(pool, first.seeds, chains, wanted.dimension, steps, verdicts)
        written = _write_lines(rows, out)
    counts = {"samples": pool.samples, **drawn, "seeds": counted(verdicts.words), "pairs": written}
    refuse_lost(counts, verdicts)
    manifest = {
        **identity,
        "counts": counts,
        "steps": [{"step": number, **step.facts()} for number, step in enumerate(steps, start=1)],
        "attempts": list(verdicts.attempts),
        "variants": counted(np.array([word for each in verdicts.rankings.values() for word in each.outcomes], object)),
        **ending(session, began),
    }
    write_manifest(out, manifest)
    return counts


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


def _write_lines(rows: Iterable[Mapping[str, Any]], out: Folder) -> int:
    """Writes pairs.jsonl, one row per line, all or none, and returns the number of rows."""
    written = 0
    with out.writing("pairs.jsonl") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            written += 1
    return written
