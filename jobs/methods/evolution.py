"""The evolution of seeds into training pairs for DEITA's scorers: chains of variants, and a judge's scores of them.

    seeds ─ Evolve ─► chains of 2 ─ … ─ Evolve ─► chains of 6 ─ Compare, again where scores are missing ─► pairs.jsonl

What a model said of the chains of a step is a feature of their pool (jobs/methods/chains.py), so nothing that was
answered is asked twice, whatever stopped the run.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.engine.command.config import configured
from jobs.engine.execute.session import Session, connect
from jobs.engine.outcome.run import claim, ending, write_manifest
from jobs.engine.pool.pool import Pool
from jobs.engine.recipe.recipe import checked
from jobs.engine.record.declarations import plain
from jobs.engine.samples.parts import Parts, read_samples
from jobs.engine.store.lock import locked
from jobs.engine.store.writing import whole_file
from jobs.engine.terminal.errors import NothingSelected, OutOfRoom, Unanswered, WinnowError
from jobs.engine.terminal.screen import say
from jobs.methods.chains import begun, lengthened
from jobs.methods.replies import refusal
from operators.asking.asking import Asking
from operators.asking.evolve import WITHOUT_TEXT, Compare, Dimension, Evolve, variants
from operators.asking.rankings import FEWEST, RETRIES, Ranking
from operators.asking.rankings import step as next_step
from operators.base import STRICT
from operators.kernels.sampling import random_order

FAILED = "failed"
"""The outcome of a step whose question had an error."""


@dataclass(frozen=True, config=STRICT)
class Evolution:
    """What is evolved, how far, and who is asked."""

    dimension: Dimension
    seeds: int = Field(default=2000, ge=1)
    """How many samples are drawn; all where there are not so many."""
    steps: int = Field(default=5, ge=1)
    """Variants that are made of a seed."""
    seed: int = Field(default=0, ge=0)
    """The draw of the seeds follows from it; that of methods and orders from `rewriter.seed` and `judge.seed`."""
    max_errors: float = Field(default=0.01, ge=0, le=1)
    """The share of a step's questions that may fail before the run fails."""
    max_lost: float = Field(default=0.5, ge=0, le=1)
    """The share of the seeds that may stay too short to be rated, as the rewriter made too few variants of them."""
    max_unrated: float = Field(default=0.2, ge=0, le=1)
    """The share of the chains that may be dropped, as the judge scored too few of their variants."""
    rewriter: Asking = Asking(max_tokens=1024, temperature=0.5)
    judge: Asking = Asking(max_tokens=256)

    @property
    def shortest(self) -> int:
        """The variants of a chain that is rated, the seed among them."""
        return min(FEWEST, self.steps + 1)

    def rewriting(self, step: int) -> Evolve:
        """The operator that makes the variants of a step, 1 and on."""
        return Evolve(**_settings(self.rewriter), dimension=self.dimension, step=step)

    def comparison(self, attempt: int) -> Compare:
        """The operator that has chains rated for the first time (attempt 0) or again."""
        return Compare(**_settings(self.judge), dimension=self.dimension, attempt=attempt)


def _settings(asking: Asking) -> dict[str, Any]:
    return {each.name: getattr(asking, each.name) for each in fields(Asking)}


def evolution(dimension: str, overrides: Iterable[str]) -> Evolution:
    """The evolution with its fields set by `field=value`; UsageError names the one that is wrong."""
    return configured(Evolution, {"dimension": dimension}, overrides)


def checked_evolution(dimension: str, overrides: Iterable[str]) -> Evolution:
    """The evolution with its fields set; ModelMissing where nobody would answer."""
    wanted = evolution(dimension, overrides)
    checked((wanted.rewriting(1), wanted.comparison(0)))
    return wanted


@plain_dataclass(frozen=True)
class Step:
    """What became of every chain in a step."""

    methods: np.ndarray
    """(chains,) the method that was drawn; empty where the question failed."""
    outcomes: np.ndarray
    """(chains,) empty for a variant to which there is nothing to say."""

    @property
    def made(self) -> np.ndarray:
        """(chains,) bool: whether there is a new variant."""
        return ~np.isin(self.outcomes, (FAILED, *WITHOUT_TEXT))

    def facts(self) -> dict[str, Any]:
        """The counts for the manifest."""
        return {"made": int(self.made.sum()), "outcomes": _counted(self.outcomes), "methods": _counted(self.methods)}


@plain_dataclass(frozen=True)
class Verdicts:
    """What the judge made of the chains."""

    rankings: Mapping[int, Ranking]
    """The best ranking of each chain that has one, by id."""
    words: np.ndarray
    """(chains,) keep, flat, drop_variants, drop_seed, too_short or not_rated."""
    attempts: Sequence[Mapping[str, int]]

    @property
    def kept(self) -> np.ndarray:
        """The ids of the chains that make pairs, ascending."""
        return np.flatnonzero(np.isin(self.words, ("keep", "flat", "drop_variants")))


def evolve(wanted: Evolution, inputs: Sequence[str], out: Path, session: Session) -> dict[str, Any]:
    """Evolves, has rated, and writes pairs.jsonl and manifest.yaml into `out`; the manifest's counts.

    UsageError where `out` holds another run; NothingSelected where no sample can be evolved, Unanswered where too many
    of the replies hold nothing.
    """
    began = time.monotonic()
    with locked(session.store.url, say):
        connect(session.profile)
        pool = Pool.of(inputs, session)
        identity = {
            "winnow_evolution": 1,
            "run": {
                "recipe": "evolve",
                "inputs": list(inputs),
                "reading": session.reading.semantics(),
                "fields": plain(wanted),
            },
            "pool": {key: pool.facts[key] for key in ("fingerprint", "sources")} | {"folder": pool.folder},
        }
        claim(out, identity)
        ids = np.sort(random_order(pool.samples, wanted.seed)[: wanted.seeds])
        first = begun(pool, ids, wanted.dimension)
        drawn = {"drawn": len(ids), "unusable": first.unusable, "repeated": first.repeated}
        say(
            f"evolve: {len(first.seeds):,} seeds of {pool.samples:,} samples ({first.unusable:,} without a usable turn)"
        )
        if not len(first.seeds):
            raise NothingSelected(f"no sample of {', '.join(inputs)} has the texts to evolve its {wanted.dimension}")
        chains, steps = _evolved(Pool.open(first.folder, session), wanted)
        lengths = 1 + np.sum([step.made for step in steps], axis=0)
        _refuse_short(wanted, steps, lengths)
        verdicts = _rated(chains, wanted, lengths)
        rows = _pairs(pool, first.seeds, chains, wanted.dimension, steps, verdicts)
        pairs = _write_lines(rows, out / "pairs.jsonl")
    counts = {"samples": pool.samples, **drawn, "seeds": _counted(verdicts.words), "pairs": pairs}
    _check(counts, verdicts)
    manifest = {
        **identity,
        "counts": counts,
        "steps": [{"step": number, **step.facts()} for number, step in enumerate(steps, start=1)],
        "attempts": list(verdicts.attempts),
        "variants": _counted(np.array([word for each in verdicts.rankings.values() for word in each.outcomes], object)),
        **ending(session, began),
    }
    write_manifest(out / "manifest.yaml", manifest)
    return counts


def _asked(field: str, chains: Pool, column: str, operator: Evolve | Compare, ids: np.ndarray) -> Pool:
    """The chains with the operator's column of these ids; an OutOfRoom names the field that declares who is asked."""
    try:
        return chains.map(**{column: operator}, only=ids)
    except OutOfRoom as error:
        raise OutOfRoom(field, error.said, error.tokens) from error


def _evolved(chains: Pool, wanted: Evolution) -> tuple[Pool, list[Step]]:
    """The chains after the last step, and what became of them in each."""
    steps: list[Step] = []
    for number in range(1, wanted.steps + 1):
        column = f"step_{number}"
        chains = _asked("rewriter", chains, column, wanted.rewriting(number), np.arange(chains.samples))
        valid = chains.valid(column)
        step = Step(np.full(chains.samples, "", object), np.full(chains.samples, FAILED, object))
        step.methods[valid] = chains.values(f"{column}.method", valid)
        step.outcomes[valid] = chains.values(f"{column}.outcome", valid)
        steps.append(step)
        chains = lengthened(chains, column, wanted.dimension)
    return chains, steps


def _rated(chains: Pool, wanted: Evolution, lengths: np.ndarray) -> Verdicts:
    """The judge's scores of the chains with enough variants (lengths), asked for again where some are missing."""
    best: dict[int, Ranking] = {}
    attempts: list[dict[str, int]] = []
    long_enough = lengths >= wanted.shortest
    asked = np.flatnonzero(long_enough)
    for attempt in range(RETRIES + 1):
        column = f"rated_{attempt}"
        if attempt:  # a question that fails the second time leaves what the first one gave
            chains = replace(chains, session=replace(chains.session, max_errors=1.0))
        chains = _asked("judge", chains, column, wanted.comparison(attempt), asked)
        valid = np.intersect1d(asked, chains.valid(column))
        again: list[int] = []
        for chain, value in zip(valid.tolist(), chains.values(column, valid), strict=True):
            ranking = Ranking(tuple(value["scores"]), tuple(value["outcomes"]))
            if chain not in best or ranking.scored > best[chain].scored:
                best[chain] = ranking
            if next_step(ranking, attempt).startswith("retry"):
                again.append(chain)
        attempts.append({"asked": len(asked), "failed": len(asked) - len(valid), "to_ask_again": len(again)})
        asked = np.array(again, np.int64)
        if not again:
            break
    words = np.where(long_enough, "not_rated", "too_short").astype(object)
    for chain, ranking in best.items():
        words[chain] = next_step(ranking, RETRIES)
    _refuse_unrated(wanted, chains, best, words)
    return Verdicts(best, words, attempts)


def _refuse_short(wanted: Evolution, steps: Sequence[Step], lengths: np.ndarray) -> None:
    """Raises Unanswered where the rewriter left too many chains too short to be rated."""
    short = np.flatnonzero(lengths < wanted.shortest)
    if len(short) > wanted.max_lost * len(lengths):
        why = Counter(str(next(step.outcomes[chain] for step in steps if not step.made[chain])) for chain in short)
        raise Unanswered(refusal("rewriter", wanted.rewriter, f"max_lost={wanted.max_lost:g}", len(lengths), why, {}))


def _refuse_unrated(wanted: Evolution, chains: Pool, best: Mapping[int, Ranking], words: np.ndarray) -> None:
    """Raises Unanswered where the judge scored too few variants of too many chains."""
    dropped = np.flatnonzero(words == "drop_seed")
    if len(dropped) > wanted.max_unrated * len(best):
        why = [best[chain].outcomes[best[chain].scores.index(None)] for chain in dropped.tolist()]
        firsts = {word: dropped[why.index(word)] for word in sorted(set(why))}
        replies = chains.values("rated_0.reply", np.array(list(firsts.values()))).tolist()
        limit, examples = f"max_unrated={wanted.max_unrated:g}", dict(zip(firsts, replies, strict=True))
        raise Unanswered(refusal("judge", wanted.judge, limit, len(best), Counter(why), examples))


def _pairs(
    pool: Pool, seeds: np.ndarray, chains: Pool, dimension: Dimension, steps: Sequence[Step], verdicts: Verdicts
) -> Iterator[dict[str, Any]]:
    """A training pair for each variant that has a score, chain by chain."""
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


def _write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Writes a row a line, whole or not at all; returns how many."""
    written = 0
    with whole_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            written += 1
    return written


def _counted(words: np.ndarray) -> dict[str, int]:
    """How often each word occurs, the most frequent first; the empty word is `good`."""
    return {str(word) or "good": count for word, count in Counter(words.tolist()).most_common()}


def _check(counts: Mapping[str, Any], verdicts: Verdicts) -> None:
    """Raises where a seed or a scored variant was lost."""
    seeds = counts["unusable"] + counts["repeated"] + sum(counts["seeds"].values())
    scored = sum(verdicts.rankings[chain].scored for chain in verdicts.kept.tolist())
    if seeds != counts["drawn"] or scored != counts["pairs"]:
        raise WinnowError(f"the evolution does not add up: {scored} variants with a score, {counts}")
