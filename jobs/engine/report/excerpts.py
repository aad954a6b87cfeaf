"""Samples and records that the report shows: the best kept, some dropped, some set aside; and how it shows them."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jobs.engine.outcome.ledger import quarantined
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.pool import Pool
from jobs.engine.report.markup import Markup, cell, clipped, escaped
from jobs.engine.samples.parts import read_samples

KEPT_SHOWN, DROPPED_SHOWN, ASIDE_SHOWN = 12, 12, 6
RAW_CHARACTERS = 5_000
SAMPLE_CHARACTERS, MESSAGES_SHOWN = 4_000, 8
PREVIEW_CHARACTERS, PREVIEW_LINES = 420, 6
INGEST = "ingest"


class Text(NamedTuple):
    """A piece of a sample: who says it, or that it is a raw record."""

    role: str
    content: str


@dataclass(frozen=True)
class Excerpt:
    """A sample or a record with what was decided about it."""

    source: str
    line: int | None
    reason: str
    texts: list[Text]
    id: int | None = None
    score: float | None = None
    rank: int | None = None


@dataclass
class Fault:
    """What went wrong in the same way with some records, where, and how often."""

    where: str
    kind: str
    example: str
    count: int = 0
    held: list[Excerpt | int] = field(default_factory=list)
    """A few of them: records that ingest set aside, or the ids of samples that an operator failed on."""


def faults(pool: Pool, failed: Mapping[int, str]) -> list[Fault]:
    """Everything that was quarantined, by where and by kind, the most frequent first; `failed` as the ledger has it."""
    found: dict[tuple[str, str], Fault] = {}
    for record in quarantined(pool):
        fault = found.setdefault((INGEST, record["reason"]), Fault(INGEST, record["reason"], record["message"]))
        fault.count += 1
        if len(fault.held) < ASIDE_SHOWN:
            reason = f"{record['reason']}: {record['message']}"
            texts = [Text("record", _raw(record))]
            fault.held.append(Excerpt(record["source"], record.get("line"), reason, texts))
    for sample, error in sorted(failed.items()):
        where, _, message = error.partition(": ")
        kind, _, detail = message.partition(": ")
        fault = found.setdefault((where, kind), Fault(where, kind, detail or message))
        fault.count += 1
        if len(fault.held) < ASIDE_SHOWN:
            fault.held.append(sample)
    return sorted(found.values(), key=lambda fault: (-fault.count, fault.where, fault.kind))


def _raw(record: Mapping[str, str]) -> str:
    """The first of a quarantined record as it came in; bytes that are no text as their escapes."""
    if "raw" in record:
        return record["raw"][:RAW_CHARACTERS]
    try:
        return base64.b64decode(record.get("raw_base64", "")[: 4 * RAW_CHARACTERS]).decode("utf-8", "backslashreplace")
    except binascii.Error:
        return ""


def set_aside(pool: Pool, failed: Mapping[int, str], found: list[Fault]) -> list[Excerpt]:
    """Some of the quarantined: one of each fault before a second of any."""
    turn = [fault.held[place] for place in range(ASIDE_SHOWN) for fault in found if place < len(fault.held)]
    shown = turn[:ASIDE_SHOWN]
    samples = [each for each in shown if isinstance(each, int)]
    read = {each.id: each for each in _read(pool, np.array(samples, np.int64))}
    excerpts: list[Excerpt] = []
    for each in shown:
        if isinstance(each, int):
            sample = read[each]
            excerpts.append(Excerpt(sample.source, sample.line, failed[each], sample.texts, sample.id))
        else:
            excerpts.append(each)
    return excerpts


def best(outcome: Outcome) -> list[Excerpt]:
    """The first of the kept, in order."""
    return _decided(outcome, outcome.selection.ids[:KEPT_SHOWN])


def some_dropped(outcome: Outcome, failed: Mapping[int, str]) -> list[Excerpt]:
    """A seeded random choice of the dropped, by id."""
    chosen = outcome.selection
    dropped = np.ones(len(chosen.reason), bool)
    dropped[chosen.ids] = False
    dropped[list(failed)] = False
    ids = np.flatnonzero(dropped)
    random = np.random.default_rng(outcome.manifest["run"]["fields"].get("seed", 0))
    return _decided(outcome, np.sort(random.choice(ids, min(DROPPED_SHOWN, len(ids)), replace=False)))


def _decided(outcome: Outcome, ids: np.ndarray) -> list[Excerpt]:
    """Excerpts of these ids, in their order, with rank, score and reason."""
    chosen = outcome.selection
    rank = {int(sample): place for place, sample in enumerate(chosen.ids[:KEPT_SHOWN], 1)}
    read = {each.id: each for each in _read(outcome.pool, np.sort(ids))}
    return [
        Excerpt(read[sample].source, read[sample].line, chosen.reasons[chosen.reason[sample]], read[sample].texts,
                sample, float(chosen.score[sample]), rank.get(sample))
        for sample in ids.tolist()
    ]  # fmt: skip


def _read(pool: Pool, ids: np.ndarray) -> Iterator[Excerpt]:
    for table in read_samples(pool.parts, np.sort(ids), ["id", "source", "line", "messages"]):
        for row in table.to_pylist():
            texts = [Text(message["role"], message["content"]) for message in row["messages"]]
            yield Excerpt(row["source"], row["line"], "", texts, row["id"])


def cards(state: str, note: str, excerpts: Iterable[Excerpt], names: Mapping[str, str]) -> str:
    """The excerpts of one state as HTML, two in a row, under a note; `names` shortens the sources."""
    shown = "".join(_card(each, state, names) for each in excerpts)
    return f'<p class="note">{escaped(note if shown else "None.")}</p><div class="grid">{shown}</div>'


def _card(excerpt: Excerpt, state: str, names: Mapping[str, str]) -> str:
    head = [f"<b>{excerpt.rank:,}</b>"] if excerpt.rank else []
    if excerpt.score is not None:
        head.append("not scored" if np.isnan(excerpt.score) else f"score {cell(excerpt.score)}")
    head.append(escaped(clipped(excerpt.reason, 300)))
    where = names.get(excerpt.source, excerpt.source) + ("" if excerpt.line is None else f":{excerpt.line}")
    where += "" if excerpt.id is None else f", id {excerpt.id}"
    return (
        f'<article class="panel sample {state}"><header>{"".join(f"<span>{part}</span>" for part in head)}</header>'
        f'<div class="where">{escaped(where)}</div>{_texts(excerpt.texts)}</article>'
    )


def _texts(texts: list[Text]) -> str:
    left = SAMPLE_CHARACTERS
    pieces: list[str] = []
    for role, content in texts[:MESSAGES_SHOWN]:
        pieces.append(f'<div class="role">{escaped(role)}</div>{_collapsed(content, max(left, PREVIEW_CHARACTERS))}')
        left -= len(content)
    if len(texts) > MESSAGES_SHOWN:
        pieces.append(f'<p class="note">and {len(texts) - MESSAGES_SHOWN:,} more messages</p>')
    return "".join(pieces)


def _collapsed(text: str, most: int) -> Markup:
    """At most so many characters of the text, of which only the beginning is seen until more is asked for."""
    # The language and the direction are the text's own, not the page's.
    opening = '<pre lang="" dir="auto">'
    preview = "\n".join(text.split("\n", PREVIEW_LINES)[:PREVIEW_LINES])[:PREVIEW_CHARACTERS]
    if len(text) - len(preview) < 80 and text.count("\n") < PREVIEW_LINES + 2:
        return Markup(f"{opening}{escaped(text)}</pre>")
    amount = f"all {len(text):,}" if len(text) <= most else f"the first {most:,} of {len(text):,}"
    more = f'<span class="more">show {amount} characters</span>'
    summary = f"{opening}{escaped(preview.rstrip())} \u2026</pre>{more}"
    return Markup(f"<details><summary>{summary}</summary>{opening}{escaped(clipped(text, most))}</pre></details>")
