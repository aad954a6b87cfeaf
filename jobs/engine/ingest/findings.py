"""What an ingest found: the counts in pool.json, and the lines on the screen."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.ingest.before import LeftOut
from jobs.engine.ingest.files.inputs import Say, Source
from jobs.engine.ingest.files.splits import Split
from jobs.engine.ingest.parse import Parsed
from jobs.engine.ingest.records.conversations import SET_ASIDE
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import OverErrorBudget, allowed_by
from operators.sample import Message

SHOWN_CHARACTERS = 60
REASONS_SHOWN = 8
REASON_CHARACTERS = 600
PAIRS = {
    "chosen": "the chosen answer is the sample, and the rejected one stays beside it",
    "both": "each answer is a sample",
    "skip": "neither answer is a sample",
}
"""What is said of preference records, by the setting."""
STATES = ("records", "samples", "duplicates", "quarantined")


def described(
    sources: Sequence[Source],
    splits: Sequence[Split],
    parsed: Sequence[Parsed],
    left_out: LeftOut,
    settings: IngestSettings,
) -> dict[str, Any]:
    """Returns the part of pool.json that is known before the parts are written."""
    by_source: list[list[int]] = [[] for _ in sources]
    for number, split in enumerate(splits):
        by_source[split.source].append(number)
    listed = [
        _source(source, [splits[number] for number in numbers], [parsed[number] for number in numbers],
                sum(left_out.duplicates.get(number, 0) for number in numbers),
                sum(sum(left_out.aside.get(number, {}).values()) for number in numbers))
        for source, numbers in zip(sources, by_source, strict=True)
    ]  # fmt: skip
    examples: dict[str, list[Message]] = {}
    reasons: Counter[str] = Counter()
    media: Counter[str] = Counter()
    for part in parsed:
        media.update(part.media)
        examples = part.examples | examples
        reasons.update(part.kinds)
    for kinds in left_out.aside.values():
        reasons.update(kinds)
    totals = {state: sum(source[state] for source in listed) for state in STATES}
    return {
        "winnow_pool": 1, **totals, "reasons": dict(sorted(reasons.items())), "media": dict(sorted(media.items())),
        "made": sum(part.made for part in parsed), "sources": listed,
        "examples": examples, "settings": settings.semantics(),
    }  # fmt: skip


def _source(
    source: Source, splits: Sequence[Split], parsed: Sequence[Parsed], duplicates: int, aside: int
) -> dict[str, Any]:
    valid = sum(part.samples for part in parsed)
    quarantined = sum(part.quarantined for part in parsed)
    formats: Counter[str] = Counter()
    for part in parsed:
        formats.update(part.formats)
    rows = {part.form for part in parsed} <= {"parquet", "arrow"}
    return {
        "uri": source.uri,
        **({"path": source.path} if rows else {}),
        "bytes": sum(part.bytes for part in parsed),
        "records": valid + quarantined,
        "samples": valid - duplicates - aside,
        "duplicates": duplicates,
        "quarantined": quarantined + aside,
        **_hashed(splits, parsed),
        "formats": dict(sorted(formats.items())),
    }


def _hashed(splits: Sequence[Split], parsed: Sequence[Parsed]) -> dict[str, Any]:
    """Returns the SHA-256 of a file; for a file read in pieces, the SHA-256 of the digests of its blocks in order."""
    if splits[0].hash_block is None:
        return {"sha256": parsed[0].digest}
    digests = hashlib.sha256(b"".join(bytes.fromhex(part.digest) for part in parsed))
    return {"sha256-blocks": {"block_bytes": splits[0].hash_block, "sha256": digests.hexdigest()}}


def say_findings(found: Mapping[str, Any], folder: str, say: Say) -> None:
    """Says the formats with an example each, what was empty, and the first quarantined record of each kind."""
    formats: Counter[str] = Counter()
    for source in found["sources"]:
        formats.update(source["formats"])
        if not source["records"]:
            say(f"{source['uri']} has no records ({source['bytes']:,} bytes)")
    for name, count in formats.most_common():
        say(f"format {name}: {count:,} records, for example {_shown(found['examples'][name])}")
    if "preference" in formats:
        taken = PAIRS[found["settings"]["pairs"]]
        say(f"of a preference record {taken}; --pairs chosen|both|skip says which")
    if found["media"]:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in found["media"].items())
        say(f"media: {counts}; they stay in the records, and methods see a placeholder such as <image>")
    if found["quarantined"]:
        reasons = Counter(found["reasons"]).most_common()
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
        say(f"quarantined {found['quarantined']:,}: {listed}; see {folder}/quarantine.jsonl")
        say_reasons(found, folder, say)


def say_reasons(found: Mapping[str, Any], folder: str, say: Say) -> None:
    """Says the first quarantined record of each of the first few reasons. found: the content of pool.json."""
    for line in first_reasons(found, folder):
        say(line)


def _shown(messages: Sequence[Message]) -> str:
    parts = []
    for message in messages[:3]:
        text = " ".join(message["content"].split())
        text = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        parts.append(f"{message['role']}: {text!r}")
    return ", ".join(parts)


def refuse_unreadable(found: Mapping[str, Any], folder: str, share: float) -> None:
    """OverErrorBudget where more than this share of the records is quarantined. The first reasons were said before.

    Records that can be read and are not wanted do not count. found: the content of pool.json. folder: that of the pool.
    """
    if not is_over(found, share):
        return
    lost, records = _unreadable(found), found["records"]
    enough = math.ceil(100 * lost / records) / 100
    allowed = f", or allow as many: --max-unreadable {enough:g}" if found["samples"] else ""
    raise OverErrorBudget(
        f"{lost:,} of {records:,} records cannot be read, and the share that may be is {share:g}. Mend them "
        f"({folder}/quarantine.jsonl has them all){allowed}"
    )


def nothing_left(found: Mapping[str, Any]) -> str:
    """Returns why there is no sample: what is not wanted, or nothing that could be read. found: as above."""
    unwanted = {kind: found["reasons"][kind] for kind in SET_ASIDE if kind in found.get("reasons", {})}
    if not unwanted:
        return "no record could be read as a sample"
    return "no sample is left: " + ", ".join(f"{count:,} {kind}" for kind, count in unwanted.items())


def is_over(found: Mapping[str, Any], share: float) -> bool:
    """Whether more than this share of the records is quarantined, those aside that are not wanted."""
    return _unreadable(found) > allowed_by(share, found["records"])


def _unreadable(found: Mapping[str, Any]) -> int:
    return found["quarantined"] - sum(found.get("reasons", {}).get(kind, 0) for kind in SET_ASIDE)


def first_reasons(found: Mapping[str, Any], folder: str) -> list[str]:
    """Returns a line for the first quarantined record of each of the first few reasons, with its file and line."""
    shown: dict[str, str] = {}
    wanted = min(REASONS_SHOWN, len(found["reasons"]))
    with Folder(folder).reading("quarantine.jsonl") as file:
        for line in file:
            entry = json.loads(line)
            place = f"{entry['source']}:{entry['line']}" if entry["line"] else entry["source"]
            message = entry["message"]
            cut = message if len(message) <= REASON_CHARACTERS else message[: REASON_CHARACTERS - 1] + "…"
            shown.setdefault(entry["reason"], f"  {place}: {entry['reason']}: {cut}")
            if len(shown) == wanted:
                break
    return list(shown.values())
