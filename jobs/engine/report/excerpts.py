"""The samples and records that the report shows: the best and the worst kept, dropped and quarantined ones."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from jobs.engine.ingest.tasks import fetched
from jobs.engine.outcome.ledger import DROPPED
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.outcome.quarantine import quarantined
from jobs.engine.report.display import clipped
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.folder import Folder
from operators.sample import Message, said

EACH_SHOWN, DROPPED_SHOWN, QUARANTINED_SHOWN, FAMILIES_SHOWN = 6, 6, 6, 5
RAW_CHARACTERS = 5_000
SAMPLE_CHARACTERS, MESSAGES_SHOWN = 4_000, 8
PREVIEW_CHARACTERS, PREVIEW_LINES = 420, 6
INGEST = "ingest"


class Text(NamedTuple):
    """A message of a sample, or a record as it came in."""

    role: str
    preview: str
    """The text, or its beginning where it is long."""
    more: str = ""
    """Of a long text, what opens under the preview."""
    amount: str = ""
    """How much of the text that is."""


@dataclass(frozen=True)
class Excerpt:
    """A sample or a record, with what was decided about it."""

    source: str
    line: int | None
    reason: str
    texts: list[Text]
    left_out: int = 0
    """The number of messages that are not among the texts."""
    id: int | None = None
    score: float | None = None
    rank: int | None = None


@dataclass
class Fault:
    """What went wrong in the same way with some records."""

    where: str
    kind: str
    example: str
    count: int = 0
    some: list[Excerpt] = field(default_factory=list)
    """Some of them: records that ingest quarantined, or samples that an operator failed on, which have an id."""


def faults(outcome: Outcome) -> list[Fault]:
    """What went wrong with the quarantined, by where and by kind, the most frequent first."""
    return fetched(outcome.desk.tasks.started(_faults, outcome.desk.out))


def _faults(out: Folder) -> list[Fault]:
    found: dict[tuple[str, str], Fault] = {}
    for record in quarantined(out):
        fault = _fault(record)
        fault = found.setdefault((fault.where, fault.kind), fault)
        fault.count += 1
        if len(fault.some) < QUARANTINED_SHOWN:
            fault.some.append(_refused(record))
    return sorted(found.values(), key=lambda fault: (-fault.count, fault.where, fault.kind))


def _fault(record: Mapping[str, Any]) -> Fault:
    if "id" not in record:
        return Fault(INGEST, record["reason"], record["message"])
    kind, _, detail = record["message"].partition(": ")
    return Fault(record["reason"], kind, detail or record["message"])


def _refused(record: Mapping[str, Any]) -> Excerpt:
    """A quarantined record; that of a sample has no texts yet."""
    reason = f"{record['reason']}: {record['message']}"
    texts = [] if "id" in record else [_text("record", _raw(record), SAMPLE_CHARACTERS)]
    return Excerpt(record["source"], record.get("line"), reason, texts, id=record.get("id"))


def _raw(record: Mapping[str, str]) -> str:
    """The beginning of a quarantined record as it came in; bytes that are not text are shown as escapes."""
    if "raw" in record:
        return record["raw"][:RAW_CHARACTERS]
    try:
        return base64.b64decode(record.get("raw_base64", "")[: 4 * RAW_CHARACTERS]).decode("utf-8", "backslashreplace")
    except binascii.Error:
        return ""


def some_quarantined(outcome: Outcome, found: Sequence[Fault]) -> list[Excerpt]:
    """Some of the quarantined: one of each fault before a second one of any fault."""
    in_turn = [fault.some[place] for place in range(QUARANTINED_SHOWN) for fault in found if place < len(fault.some)]
    shown = in_turn[:QUARANTINED_SHOWN]
    samples = _read(outcome, np.array([each.id for each in shown if each.id is not None], np.int64))
    return [each if each.id is None else replace(samples[each.id], reason=each.reason) for each in shown]


def best(outcome: Outcome) -> list[Excerpt]:
    """The best of the kept samples, in order."""
    return decided_samples(outcome, outcome.selection.ids[:EACH_SHOWN])


def worst(outcome: Outcome) -> list[Excerpt]:
    """The last of the kept samples that are not among the best, the last one first."""
    return decided_samples(outcome, outcome.selection.ids[EACH_SHOWN:][-EACH_SHOWN:][::-1])


def best_dropped(outcome: Outcome) -> list[Excerpt]:
    """The dropped samples with the highest scores, in order; none where no dropped sample has a score."""
    score, found = outcome.selection.score, np.empty(0, np.int64)
    for here in outcome.ledger.dropped:
        ids = _dropped_of(outcome, here.ids)
        found = np.concatenate([found, ids[np.isfinite(score[ids])]])
        found = found[np.lexsort((found, -score[found]))[:EACH_SHOWN]]
    return decided_samples(outcome, found)


def some_dropped(outcome: Outcome) -> list[Excerpt]:
    """A random choice, with the recipe's seed, of the dropped samples."""
    random = np.random.default_rng(outcome.manifest["run"]["fields"].get("seed", 0))
    samples = outcome.counts[DROPPED]
    wanted = np.sort(random.choice(samples, min(DROPPED_SHOWN, samples), replace=False))
    return decided_samples(outcome, np.concatenate([np.empty(0, np.int64), *_dropped(outcome, wanted)]))


def _dropped(outcome: Outcome, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """The ids of the dropped samples with these numbers, which ascend and count from 0 in the order of the ids."""
    before = 0
    for here in outcome.ledger.dropped:
        some = wanted[np.searchsorted(wanted, before) : np.searchsorted(wanted, before + here.samples)]
        if len(some):
            yield _dropped_of(outcome, here.ids)[some - before]
        before += here.samples


def _dropped_of(outcome: Outcome, ids: range) -> np.ndarray:
    """The dropped ones of the samples with these ids, ascending."""
    kept = outcome.selection.ids
    kept = kept[(kept >= ids.start) & (kept < ids.stop)]
    failed, _ = outcome.errors.failed(ids, kept)
    return np.setdiff1d(np.arange(ids.start, ids.stop), np.concatenate([kept, failed]))


def decided_samples(outcome: Outcome, ids: np.ndarray) -> list[Excerpt]:
    """The samples with these ids, in their order, with rank, score and reason."""
    chosen = outcome.selection
    places = np.flatnonzero(np.isin(chosen.ids, ids))
    rank = dict(zip(chosen.ids[places].tolist(), (places + 1).tolist(), strict=True))
    samples = _read(outcome, np.unique(ids))
    return [
        replace(
            samples[sample],
            reason=chosen.reasons[chosen.reason[sample]],
            score=float(chosen.score[sample]),
            rank=rank.get(sample),
        )
        for sample in ids.tolist()
    ]


@dataclass(frozen=True)
class Families:
    """The new samples among the kept."""

    added: int
    """The number of new samples in the pool."""
    kept: int
    """The number of new samples among the kept."""
    both: list[tuple[Excerpt, Excerpt]]
    """Some parents, each with its child: the best of the kept, or where none is kept the first of the pool."""


def families(outcome: Outcome) -> Families | None:
    """The new samples of a grown pool; None where the pool was not grown."""
    if not outcome.pool.facts.get("rounds"):
        return None
    parent = outcome.pool.lineage().parent
    added = np.flatnonzero(parent >= 0)
    kept = outcome.selection.ids[parent[outcome.selection.ids] >= 0]
    children = (kept if len(kept) else added)[:FAMILIES_SHOWN]
    parents = decided_samples(outcome, parent[children])
    return Families(len(added), len(kept), [*zip(parents, decided_samples(outcome, children), strict=True)])


def _read(outcome: Outcome, ids: np.ndarray) -> dict[int, Excerpt]:
    """The samples with these ids, without what was decided about them."""
    return fetched(outcome.desk.tasks.started(_excerpts, outcome.pool.parts, ids))


def _excerpts(parts: Parts, ids: np.ndarray) -> dict[int, Excerpt]:
    return {
        row["id"]: Excerpt(
            row["source"],
            row["line"],
            "",
            _texts(row["messages"]),
            max(0, len(row["messages"]) - MESSAGES_SHOWN),
            row["id"],
        )
        for table in read_samples(parts, np.sort(ids), ["id", "source", "line", "messages"])
        for row in table.to_pylist()
    }


def _texts(messages: Sequence[Message]) -> list[Text]:
    """The first messages of a sample, SAMPLE_CHARACTERS of them in all; of each at least a preview."""
    left = SAMPLE_CHARACTERS
    texts = []
    for message in messages[:MESSAGES_SHOWN]:
        texts.append(_text(message["role"], said(message), max(left, PREVIEW_CHARACTERS)))
        left -= len(said(message))
    return texts


def _text(role: str, content: str, most: int) -> Text:
    """At most `most` characters of a message, split into the preview and what opens under it."""
    preview = "\n".join(content.split("\n", PREVIEW_LINES)[:PREVIEW_LINES])[:PREVIEW_CHARACTERS]
    if len(content) - len(preview) < 80 and content.count("\n") < PREVIEW_LINES + 2:
        return Text(role, content)
    amount = f"all {len(content):,}" if len(content) <= most else f"the first {most:,} of {len(content):,}"
    return Text(role, preview.rstrip(), clipped(content, most), amount)
