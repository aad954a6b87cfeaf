"""The rows of the report's tables."""

from collections.abc import Iterator, Sequence
from typing import Any

from jobs.engine.outcome.ledger import DROPPED, DUPLICATE, KEPT, NEARLY, QUARANTINED
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.record.entries import Entry
from jobs.engine.report.display import clipped, percent
from jobs.engine.report.excerpts import Fault

COUNTS = ("samples", "stored", "taken_over", "computed", "failed")


def reasons(outcome: Outcome, found: Sequence[Fault]) -> list[tuple[str, str, int, str]]:
    """State, reason, number and share of all records, per state the most frequent first, and their total at the end."""
    counted = [*_reasons(outcome, found)]
    counted.append(("all", "", sum(count for _, _, count in counted)))
    records = max(outcome.manifest["counts"]["records"], 1)
    return [(state, reason, count, percent(count / records)) for state, reason, count in counted]


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


def errors(found: Sequence[Fault]) -> list[tuple[str, str, str, int]]:
    """Where it was, kind, example and number of records for each error, the most frequent first."""
    return [(fault.where, fault.kind, clipped(fault.example, 400), fault.count) for fault in found]


def verbs(entries: Sequence[Entry]) -> list[tuple[str | int | None, ...]]:
    """For each verb of a run what it did: the verb, to what, the operator or the columns, COUNTS, and the seconds."""
    rows = []
    for entry in entries:
        verb, subject = next(iter(entry.items()))
        operator = entry.get("operator") or ", ".join(entry.get("columns", []))
        counts = (entry.get(name) for name in COUNTS)
        rows.append((verb, _worded(verb, subject), operator, *counts, f"{entry.get('seconds', 0):,.1f}"))
    return rows


def _worded(verb: str, subject: Any) -> str:
    if not isinstance(subject, list):
        return str(subject)
    noun = "input" if verb == "read" else "subtask"
    return f"1 {noun}" if len(subject) == 1 else f"{len(subject):,} {noun}s"
