"""The samples and records that the report shows: the best kept, some dropped and some quarantined ones."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from jobs.engine.outcome.ledger import quarantined
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.pool import Pool
from jobs.engine.report.display import clipped
from jobs.engine.samples.reading import read_samples
from operators.sample import Message

KEPT_SHOWN, DROPPED_SHOWN, QUARANTINED_SHOWN = 12, 12, 6
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
    some: list[Excerpt | int] = field(default_factory=list)
    """Some of them: records that ingest quarantined, or the ids of samples that an operator failed on."""


def faults(outcome: Outcome) -> list[Fault]:
    """What went wrong with the quarantined, by where and by kind, the most frequent first."""
    found: dict[tuple[str, str], Fault] = {}
    for record in quarantined(outcome.pool):
        fault = found.setdefault((INGEST, record["reason"]), Fault(INGEST, record["reason"], record["message"]))
        fault.count += 1
        if len(fault.some) < QUARANTINED_SHOWN:
            reason = f"{record['reason']}: {record['message']}"
            texts = [_text("record", _raw(record), SAMPLE_CHARACTERS)]
            fault.some.append(Excerpt(record["source"], record.get("line"), reason, texts))
    for sample, error in sorted(outcome.failed.items()):
        where, _, message = error.partition(": ")
        kind, _, detail = message.partition(": ")
        fault = found.setdefault((where, kind), Fault(where, kind, detail or message))
        fault.count += 1
        if len(fault.some) < QUARANTINED_SHOWN:
            fault.some.append(sample)
    return sorted(found.values(), key=lambda fault: (-fault.count, fault.where, fault.kind))


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
    samples = _read(outcome.pool, np.array([each for each in shown if isinstance(each, int)], np.int64))
    return [replace(samples[each], reason=outcome.failed[each]) if isinstance(each, int) else each for each in shown]


def best(outcome: Outcome) -> list[Excerpt]:
    """The best of the kept samples, in order."""
    return _decided(outcome, outcome.selection.ids[:KEPT_SHOWN])


def some_dropped(outcome: Outcome, dropped: np.ndarray) -> list[Excerpt]:
    """A random choice, with the recipe's seed, of the dropped samples; dropped: their ids, ascending."""
    random = np.random.default_rng(outcome.manifest["run"]["fields"].get("seed", 0))
    return _decided(outcome, np.sort(random.choice(dropped, min(DROPPED_SHOWN, len(dropped)), replace=False)))


def _decided(outcome: Outcome, ids: np.ndarray) -> list[Excerpt]:
    """The samples with these ids, in their order, with rank, score and reason."""
    chosen = outcome.selection
    rank = {int(sample): place for place, sample in enumerate(chosen.ids[:KEPT_SHOWN], 1)}
    samples = _read(outcome.pool, ids)
    return [
        replace(
            samples[sample],
            reason=chosen.reasons[chosen.reason[sample]],
            score=float(chosen.score[sample]),
            rank=rank.get(sample),
        )
        for sample in ids.tolist()
    ]


def _read(pool: Pool, ids: np.ndarray) -> dict[int, Excerpt]:
    """The samples with these ids, without what was decided about them."""
    return {
        row["id"]: Excerpt(
            row["source"],
            row["line"],
            "",
            _texts(row["messages"]),
            max(0, len(row["messages"]) - MESSAGES_SHOWN),
            row["id"],
        )
        for table in read_samples(pool.parts, np.sort(ids), ["id", "source", "line", "messages"])
        for row in table.to_pylist()
    }


def _texts(messages: Sequence[Message]) -> list[Text]:
    """The first messages of a sample, SAMPLE_CHARACTERS of them in all; of each at least a preview."""
    left = SAMPLE_CHARACTERS
    texts = []
    for message in messages[:MESSAGES_SHOWN]:
        texts.append(_text(message["role"], message["content"], max(left, PREVIEW_CHARACTERS)))
        left -= len(message["content"])
    return texts


def _text(role: str, content: str, most: int) -> Text:
    """At most `most` characters of a message, split into the preview and what opens under it."""
    preview = "\n".join(content.split("\n", PREVIEW_LINES)[:PREVIEW_LINES])[:PREVIEW_CHARACTERS]
    if len(content) - len(preview) < 80 and content.count("\n") < PREVIEW_LINES + 2:
        return Text(role, content)
    amount = f"all {len(content):,}" if len(content) <= most else f"the first {most:,} of {len(content):,}"
    return Text(role, preview.rstrip(), clipped(content, most), amount)
