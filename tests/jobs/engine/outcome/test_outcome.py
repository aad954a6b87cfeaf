"""What a run writes about its records, against plain loops over them: `pytest tests/jobs/engine/outcome`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.execute.columns import column
from jobs.engine.outcome import decided, ledger
from jobs.engine.outcome.earlier import _whole
from jobs.engine.outcome.explanation import ledger_rows
from jobs.engine.outcome.ledger import ledger_in
from jobs.engine.outcome.outcome import desk, written
from jobs.engine.pool.column import Column
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.series import Series
from jobs.engine.report.excerpts import some_dropped
from jobs.engine.report.measures import measures
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError
from operators.base import RowError
from tests.conftest import write_pool

SAMPLES = 90
REPEATED = [("made.jsonl", 200, 3), ("数据.jsonl", 7, 80)]
REFUSED = [
    {"source": "made.jsonl", "line": 201, "reason": "malformed_json", "message": "column 3", "raw": "{"},
    {"source": "made.jsonl", "line": None, "reason": "invalid_utf8", "message": "byte 0xff", "raw_base64": "//4h"},
]
FIRST = {4: "too_long: 9 tokens", 9: "unreadable: 98% of the text", 33: "too_long: 812 tokens"}
SECOND = {9: "nonfinite: the value is NaN or infinite", 60: "无法读取: 文本", 85: "unreadable: 70% of the text"}
MENDED = 4
"""The sample that has a value in a later part of the first column."""


@pytest.fixture
def pool(ray_session, session, tmp_path) -> Pool:
    """A pool in parts of 20, with duplicates and quarantined records."""
    folder = Path(write_pool(tmp_path / "pool", [f"question {i} 问题" for i in range(SAMPLES)], 20))
    names = ["source", "line", "id"]
    pq.write_table(pa.table(dict(zip(names, zip(*REPEATED, strict=True), strict=True))), folder / "duplicates.parquet")
    (folder / "quarantine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in REFUSED))
    facts = json.loads((folder / "pool.json").read_text())
    facts.update(records=SAMPLES + 4, duplicates=2, quarantined=2)
    (folder / "pool.json").write_text(json.dumps(facts))
    return Pool.open(str(folder), session)


@pytest.fixture
def chosen(pool, tmp_path):
    """A selection of 30 samples in a random order: some have errors, a score or a centroid, and some none."""
    columns = {}
    for name, errors in (("first", FIRST), ("second", SECOND)):
        feature = Feature(str(tmp_path / "features" / name))
        for ids in (np.arange(40), np.arange(40, SAMPLES)):
            values = [RowError(*errors[i].split(": ")) if i in errors else float(i) for i in ids.tolist()]
            feature.write(ids, pa.nulls(len(ids), pa.binary(16)), *column(values, len(ids)))
        columns[name] = Column(np.setdiff1d(pool.ids, list(errors)), feature)
    mended = np.array([MENDED])
    columns["first"].stored().write(mended, pa.nulls(1, pa.binary(16)), *column([4.0], 1))
    random = np.random.default_rng(2)
    others = np.setdiff1d(pool.ids, [MENDED, 9, 33, 85])
    kept = replace(pool, columns=columns).ranking(np.append(random.permutation(others)[:29], 85))
    scored = np.arange(5, 70)
    return pool.selection(
        kept,
        because={"too far": pool[np.arange(50)], "near": kept},
        score=Series(scored, scored / 7),
        details={"centroid": Series(scored, scored % 5), "distance": Series(scored, np.sqrt(scored))},
    )


def expected(chosen, failed) -> list[dict]:
    """The rows of the ledger, one after another."""
    rows = []
    rank = {sample: place for place, sample in enumerate(chosen.ids.tolist(), 1)}
    for i in range(SAMPLES):
        score = float(chosen.score[i])
        state, reason = ("kept" if i in rank else "dropped"), chosen.reasons[chosen.reason[i]]
        if i in failed:
            state, reason = "quarantined", failed[i]
        row = {"source": "made.jsonl", "line": i + 1, "id": i, "state": state, "rank": rank.get(i)}
        row |= {"score": None if score != score else score, "reason": reason}
        centroid, distance = int(chosen.details["centroid"][i]), float(chosen.details["distance"][i])
        rows.append({**row, "centroid": None if centroid < 0 else centroid,
                     "distance": None if distance != distance else distance})  # fmt: skip
    nothing = dict.fromkeys(("rank", "score", "centroid", "distance"))
    for source, line, sample in REPEATED:
        reason = f"repeats sample {sample}"
        rows.append({"source": source, "line": line, "id": sample, "state": "duplicate", "reason": reason, **nothing})
    for record in REFUSED:
        reason = f"{record['reason']}: {record['message']}"
        where = {"source": record["source"], "line": record["line"]}
        rows.append({**where, "id": None, "state": "quarantined", "reason": reason, **nothing})
    return rows


def raws(pool) -> list[bytes]:
    tables = [pq.read_table(path) for path in sorted(Path(pool.folder).glob("part-*.parquet"))]
    return pa.concat_tables(tables)["raw"].to_pylist()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failed_of(chosen) -> dict[int, str]:
    """What the samples that are not kept failed on; the error of a sample that has a value after all is left out."""
    failed = {i: f"second: {error}" for i, error in SECOND.items()} | {i: f"first: {e}" for i, e in FIRST.items()}
    return {i: text for i, text in failed.items() if i not in {MENDED, *chosen.ids.tolist()}}


@pytest.mark.parametrize(("records_a_file", "place"), [(10, "s3"), (1000, "disk")])
def test_outcome_equals_loops_over_all_records(pool, chosen, s3, tmp_path, monkeypatch, records_a_file, place):
    monkeypatch.setattr(ledger, "FILE_RECORDS", records_a_file)
    monkeypatch.setattr(decided, "SAMPLES", 30)
    out = Folder.at(tmp_path / "out" if place == "disk" else f"{s3.bucket()}/out")
    failed = failed_of(chosen)
    with desk(out, pool.session) as at:
        outcome = written(chosen, pool, {}, at)
        outcome = replace(outcome, manifest={"run": {"fields": {"seed": 3}}})
        shown = [each.id for each in some_dropped(outcome)]
        measured = measures(outcome, {"made.jsonl": "made"})
    assert out.names() == ["quarantine.jsonl", "selected.jsonl", "selection.parquet"]
    parts = [f"part-{number:05d}.parquet" for number in range(5)]
    assert out.inner("selection.parquet").names() == (parts if records_a_file == 10 else ["selection.parquet"])
    rows = expected(chosen, failed)
    assert ledger_in(out).to_table().to_pylist() == rows
    assert 9 in failed
    assert 85 not in failed
    held = raws(pool)
    assert out.content("selected.jsonl") == b"".join(held[i] + b"\n" for i in chosen.ids)
    lines = [json.loads(line) for line in out.content("quarantine.jsonl").splitlines()]
    assert lines[:2] == REFUSED
    assert [(line["id"], f"{line['reason']}: {line['message']}", line["raw"]) for line in lines[2:]] == [
        (i, failed[i], held[i].decode()) for i in sorted(failed)
    ]
    states = [row["state"] for row in rows]
    assert outcome.counts == {state: states.count(state) for state in ledger.STATES}
    for (state, reason), records in outcome.ledger.tally.items():
        assert records == sum(row["state"] == state and reason in ("", row["reason"]) for row in rows)
    dropped = [row["id"] for row in rows if row["state"] == "dropped"]
    assert shown == sorted(np.random.default_rng(3).choice(dropped, 6, replace=False).tolist())
    assert measured.instruction.tolist() == [len(f"question {i} 问题") for i in range(SAMPLES)]
    assert np.flatnonzero(measured.of_kept).tolist() == sorted(chosen.ids.tolist())
    assert np.flatnonzero(measured.unreadable).tolist() == [9, 85]
    assert set(measured.labels["source file"]) == {"made"}
    assert ledger_rows(out, "数据.jsonl:7") == [row for row in rows if row["source"] == "数据.jsonl"]
    assert [row["line"] for row in ledger_rows(out, "3")] == [4, 200]


@pytest.mark.fault(
    "a process is killed at any point of writing",
    how="an error after most files of the outcome are written",
    holds="it does not count as whole, and the next run writes the same bytes",
)
def test_outcome_that_was_cut_short_is_not_whole_and_is_the_same_when_written_again(
    pool, chosen, tmp_path, monkeypatch
):
    monkeypatch.setattr(ledger, "FILE_RECORDS", 10)
    monkeypatch.setattr(decided, "SAMPLES", 30)
    manifest = {"counts": {"records": SAMPLES + 4}}
    for name in ("unharmed", "out"):
        for file in ("report.html", "README.md"):
            Folder.at(tmp_path / name).make()
            (tmp_path / name / file).write_text("")
    with desk(Folder.at(tmp_path / "unharmed"), pool.session) as at:
        written(chosen, pool, {}, at)
    assert _whole(manifest, Folder.at(tmp_path / "unharmed"))
    out = tmp_path / "out"
    (out / "selection.parquet").mkdir()
    (out / "selection.parquet/part-00099.parquet").write_bytes(b"of a run with more parts")
    refused = Path(pool.folder) / "quarantine.jsonl"
    whole = refused.read_bytes()
    refused.write_bytes(whole[:-9])  # what the last part of the ledger is made of
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"), desk(Folder.at(out), pool.session) as at:
        written(chosen, pool, {}, at)
    assert (out / "selected.jsonl").exists()
    assert not _whole(manifest, Folder.at(out))
    refused.write_bytes(whole)
    with desk(Folder.at(out), pool.session) as at:
        written(chosen, pool, {}, at)
    assert content(out) == content(tmp_path / "unharmed")
    (out / "selection.parquet/part-00001.parquet").unlink()
    assert not _whole(manifest, Folder.at(out))


def test_ledger_that_lost_a_record_is_refused(pool, chosen, tmp_path):
    pool.facts["records"] += 1
    out = Folder.at(tmp_path / "out")
    with pytest.raises(WinnowError, match="does not add up"), desk(out, pool.session) as at:
        written(chosen, pool, {}, at)
