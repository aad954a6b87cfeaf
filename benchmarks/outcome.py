"""Do the files of a run cost one pass over the pool, whatever its size and however many samples are kept?

    python -m benchmarks.outcome [--samples 100000 300000 1000000] [--folder FOLDER]

Makes pools of short records. Half of the samples are kept, in a random order, and 1 % have an error in a column. Prints
a JSON line per pool: the CPU seconds of each piece, on the driver and on the workers together, because wall time
depends on other processes; the wall time of all; and by how much the driver's memory grew. `ratio` is the time of the
naive form of selected.jsonl over ours. The naive form holds the records of 100,000 kept samples at a time, and passes
over the pool for each. `identical`: whether both write the same bytes. The last line has the exponent of each piece:
the slope of the logarithm of its time over that of the number of samples. An exponent of 1 is one pass.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._made import say_beside
from benchmarks._run import exponent, options, printed
from jobs.engine.execute.profile import Profile
from jobs.engine.execute.session import Session, connect
from jobs.engine.ingest.row_groups import GROUP_ROWS, sample_writer
from jobs.engine.outcome.failures import errors_of
from jobs.engine.outcome.ledger import write_ledger
from jobs.engine.outcome.outcome import Outcome, desk
from jobs.engine.outcome.quarantine import write_quarantine
from jobs.engine.outcome.selected import write_selected
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.report.measures import measures
from jobs.engine.samples.reading import read_samples
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from operators.sample import MESSAGES, SAMPLE

PART_ROWS = 65_536
NAIVE_AT_ONCE = 100_000
SOURCE = "made.jsonl"


def part_of(ids: np.ndarray) -> pa.Table:
    """The samples with these ids, made a column at a time."""
    asked, answered = ([f"{word} {i}?" for i in ids.tolist()] for word in ("问题 question", "Answer 答案"))
    raws = [f'{{"q": "{q}", "a": "{a}"}}'.encode() for q, a in zip(asked, answered, strict=True)]
    contents = [text for pair in zip(asked, answered, strict=True) for text in pair]
    roles = pa.array(["user", "assistant"] * len(ids))
    items = pa.StructArray.from_arrays([roles, pa.array(contents)], fields=list(MESSAGES.value_type))
    messages = pa.ListArray.from_arrays(pa.array(np.arange(len(ids) + 1, dtype=np.int32) * 2), items, type=MESSAGES)
    shas = [i.to_bytes(16, "big") for i in ids.tolist()]
    beside = [[None] * len(ids)] * 2
    columns = [ids, shas, shas, [SOURCE] * len(ids), ids + 1, messages, raws, *beside]
    return pa.table(dict(zip(SAMPLE.names, columns, strict=True)), SAMPLE)


def pool_of(folder: Path, samples: int, session: Session) -> Pool:
    """Writes a pool of so many samples as ingest would."""
    folder.mkdir()
    parts = []
    for first in range(0, samples, PART_ROWS):
        ids = np.arange(first, min(first + PART_ROWS, samples))
        parts.append({"file": f"part-{first // PART_ROWS:05d}.parquet", "first": first, "rows": len(ids)})
        with (folder / parts[-1]["file"]).open("wb") as file, sample_writer(file, SAMPLE) as writer:
            writer.write_table(part_of(ids), row_group_size=GROUP_ROWS)
    aside = pa.schema([("source", pa.string()), ("line", pa.int64()), ("id", pa.int64())])
    pq.write_table(aside.empty_table(), folder / "duplicates.parquet")
    (folder / "quarantine.jsonl").write_text("")
    sources = [{"uri": SOURCE, "formats": {"made": samples}}]
    facts = {"samples": samples, "records": samples, "fingerprint": "0" * 64, "sources": sources, "parts": parts}
    (folder / "pool.json").write_text(json.dumps(facts))
    return Pool.open(str(folder), session)


def selection_of(pool: Pool, folder: str) -> Selection:
    """Keeps a random half, with a score and a centroid per sample. A hundredth of the samples has an error."""
    random = np.random.default_rng(0)
    feature = Feature(folder)
    for first in range(0, pool.samples, PART_ROWS):
        ids = np.arange(first, min(first + PART_ROWS, pool.samples))
        errors = [None if i % 100 else f"too_long: {i} tokens" for i in ids.tolist()]
        values = pa.array(ids.astype(np.float32), mask=ids % 100 == 0)
        feature.write(ids, pa.nulls(len(ids), pa.binary(16)), values, errors)
    kept = random.permutation(pool.samples)[: pool.samples // 2]
    return Selection(
        kept,
        random.random(pool.samples),
        np.isin(np.arange(pool.samples), kept).astype(np.int32),
        ("too far", "near"),
        pool.folder,
        {"centroid": random.integers(0, 100, pool.samples)},
        {"vector": feature},
    )


def naive(pool: Pool, ids: np.ndarray, path: Path) -> None:
    """The records with these ids, in this order: one pass over the pool for every NAIVE_AT_ONCE of them."""
    with path.open("wb") as out:
        for start in range(0, len(ids), NAIVE_AT_ONCE):
            ranked = ids[start : start + NAIVE_AT_ONCE]
            by_id = np.argsort(ranked)
            raws = pa.concat_tables(read_samples(pool.parts, ranked[by_id], ["raw"]))["raw"]
            for raw in raws.take(pa.array(np.argsort(by_id))):
                out.write(raw.as_py() + b"\n")


def cpu_seconds() -> float:
    """The CPU seconds that this process and Ray's workers have used until now."""
    total = sum(psutil.Process().cpu_times()[:2])
    for child in psutil.Process().children(recursive=True):
        try:
            if child.cmdline()[0].startswith("ray::"):
                total += sum(child.cpu_times()[:2])
        except (psutil.NoSuchProcess, IndexError):
            continue
    return total


def measured(folder: Path, samples: int, session: Session) -> dict[str, Any]:
    """The line of a pool of so many samples."""
    pool = pool_of(folder / f"pool-{samples}", samples, session)
    chosen = selection_of(pool, str(folder / f"vector-{samples}"))
    out = Folder.at(folder / f"out-{samples}")
    seconds: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = cpu_seconds()
        result = function(*arguments)
        seconds[name] = round(cpu_seconds() - began, 2)
        return result

    began, before = time.monotonic(), psutil.Process().memory_info().rss
    with desk(out, session) as at:
        errors = timed("errors", errors_of, chosen.features, samples, at.interim, at.tasks)
        timed("selected.jsonl", write_selected, pool.parts, chosen, at.interim, out, at.tasks)
        timed("quarantine.jsonl", write_quarantine, pool.parts, chosen, errors, out, at.tasks)
        ledger = timed("selection.parquet", write_ledger, pool, chosen, errors, out, at.tasks)
        outcome = Outcome(at, pool, chosen, ledger, errors, {"run": {"fields": {}}})
        timed("measures", measures, outcome, {})
    wall, grown = time.monotonic() - began, psutil.Process().memory_info().rss - before
    path = folder / "naive.jsonl"
    timed("naive selected.jsonl", naive, pool, chosen.ids, path)
    return {
        "benchmark": "outcome",
        "samples": samples,
        "kept": len(chosen.ids),
        "cpu_seconds": seconds,
        "wall_seconds": round(wall, 1),
        "driver_bytes_a_sample": round(grown / samples, 1),
        "ratio": round(seconds["naive selected.jsonl"] / seconds["selected.jsonl"], 2),
        "identical": digest(path) == digest(Path(out.url) / "selected.jsonl"),
    }


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def exponents(lines: list[Mapping[str, Any]]) -> dict[str, float]:
    """The exponent of each piece's seconds."""
    sizes, pieces = [line["samples"] for line in lines], lines[0]["cpu_seconds"]
    return {name: exponent(sizes, (line["cpu_seconds"][name] for line in lines)) for name in pieces}


def main() -> None:
    parser = options(__doc__, samples=[100_000, 300_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="a folder to work in; a temporary one if not given")
    given = parser.parse_args()
    say_beside()
    lines = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        session = Session(Store(folder + "/store"), Profile())
        connect(session.profile)
        measured(Path(folder), 1000, session)  # what workers import at first is no part of the answer
        for samples in given.samples:
            lines.append(measured(Path(folder), samples, session))
            printed(lines[-1])
    if len(lines) > 1:
        printed({"benchmark": "outcome", "exponents": exponents(lines)})


if __name__ == "__main__":
    main()
