"""The rows of the report's tables."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jobs.engine.outcome.ledger import DROPPED, DUPLICATE, KEPT, NEARLY, QUARANTINED
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.record.entries import Entry
from jobs.engine.report.display import clipped, percent
from jobs.engine.report.excerpts import Fault


class Reason(NamedTuple):
    """The number of records that are in a state for the same reason, and their share of all records."""

    state: str
    reason: str
    records: int
    share: str


class Error(NamedTuple):
    """An error that some records have in common."""

    where: str
    kind: str
    example: str
    records: int


class Verb(NamedTuple):
    """What a verb of the run did."""

    verb: str
    subject: str
    by: str
    samples: int | None
    stored: int | None
    taken_over: int | None
    computed: int | None
    failed: int | None
    seconds: str


def reasons(outcome: Outcome, found: Sequence[Fault]) -> list[Reason]:
    """The reasons for the states of all records, per state the most frequent first, and their total at the end."""
    counted = [*_reasons(outcome, found)]
    counted.append(("all", "", sum(count for _, _, count in counted)))
    records = max(outcome.manifest["counts"]["records"], 1)
    return [Reason(state, reason, count, percent(count / records)) for state, reason, count in counted]


def _reasons(outcome: Outcome, found: Sequence[Fault]) -> Iterator[tuple[str, str, int]]:
    tally = outcome.ledger.tally
    for state in (KEPT, DROPPED):
        counted = [(reason, tally[state, reason]) for reason in outcome.selection.reasons]
        for reason, records in sorted(counted, key=lambda each: -each[1]):
            if records:
                yield state, reason, records
    if same := tally[DUPLICATE, ""]:
        yield DUPLICATE, "the same record as an earlier one, except for ids, sources and dates", same
    if alike := tally[DUPLICATE, NEARLY]:
        yield DUPLICATE, "nearly the same text as an earlier sample (--near-duplicates)", alike
    for fault in found:
        yield QUARANTINED, f"{fault.where}: {fault.kind}", fault.count


def errors(found: Sequence[Fault]) -> list[Error]:
    """The errors of the quarantined records, the most frequent first."""
    return [Error(fault.where, fault.kind, clipped(fault.example, 400), fault.count) for fault in found]


def verbs(entries: Sequence[Entry]) -> Iterator[Verb]:
    """The verbs of a run, in their order."""
    for entry in entries:
        verb, subject = next(iter(entry.items()))
        operator = entry.get("operator") or ", ".join(entry.get("columns", []))
        yield Verb(
            verb,
            _worded(verb, subject),
            operator,
            samples=entry.get("samples"),
            stored=entry.get("stored"),
            taken_over=entry.get("taken_over"),
            computed=entry.get("computed"),
            failed=entry.get("failed"),
            seconds=f"{entry.get('seconds', 0):,.1f}",
        )


def _worded(verb: str, subject: Any) -> str:
    if not isinstance(subject, list):
        return str(subject)
    noun = "input" if verb == "read" else "subtask"
    return f"1 {noun}" if len(subject) == 1 else f"{len(subject):,} {noun}s"
