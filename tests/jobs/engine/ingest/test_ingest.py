"""Whole ingests over Ray: `pytest tests/jobs/engine/ingest/test_ingest.py`."""

import errno
import gzip
import hashlib
import json
import os
import uuid
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import zstandard

from jobs.engine.ingest import IngestSettings, InputError, ingest, ingest_key
from jobs.engine.ingest.tasks import fetched
from operators.sample import SAMPLE, text_sha

SETTINGS = IngestSettings(task_cpus=0.5)


@pytest.fixture
def run(ray_session, tmp_path):
    """run(inputs, name="pool") gives the parsed pool.json, its folder, and the lines that were said."""

    def ingested(inputs, name="pool", settings=SETTINGS):
        said = []
        found = ingest([str(given) for given in inputs], str(tmp_path / name), settings=settings, say=said.append)
        assert json.loads((tmp_path / name / "pool.json").read_text()) == found
        assert [entry for entry in os.listdir(tmp_path / name) if entry.startswith(".tmp")] == []
        return found, tmp_path / name, said

    return ingested


def samples_of(folder):
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    return pa.concat_tables(tables) if tables else SAMPLE.empty_table()


def quarantine_of(folder):
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


@pytest.mark.fault(
    "a file is corrupt, cut short or empty",
    how="a folder with a false parquet file, a gzip file cut in half, an empty file and broken lines",
    holds="every record is a sample, a duplicate or in quarantine with file and line",
)
def test_ingest_every_form_and_fault_adds_up(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    alpaca = '{"instruction": "问%d", "input": "", "output": "答", "score": 1.0}'
    lines = [alpaca % 1, "", "not json", alpaca % 2, alpaca % 1, "[]"]
    (data / "a.jsonl").write_bytes("\r\n".join(lines).encode() + b'\n{"instruction": "\xff"}\n' + b"x" * 3000)
    (data / "b.json").write_text(json.dumps([{"prompt": "p", "completion": "c"}, {"q": 1}], indent=1) + "\n")
    cut = gzip.compress("\n".join(alpaca % n for n in range(100, 3000)).encode(), mtime=0)
    (data / "c.jsonl.gz").write_bytes(cut[: len(cut) // 2])
    (data / "d.json.zst").write_bytes(zstandard.compress(json.dumps({"instruction": "z", "response": "y"}).encode()))
    (data / "e.parquet").write_bytes(b"this is no parquet file")
    (data / "f.jsonl").write_bytes(b"")
    pq.write_table(pa.table({"query": ["q", "p"], "response": ["r", "c"]}), data / "g.parquet")
    found, folder, said = run(["data"], settings=replace(SETTINGS, max_record_bytes=2000))

    assert found["records"] == found["samples"] + found["duplicates"] + found["quarantined"]
    table = samples_of(folder)
    assert table.schema.equals(SAMPLE)
    assert table["id"].to_pylist() == list(range(found["samples"]))
    assert table["raw"][0].as_py() == lines[0].encode()
    assert table["raw"][2].as_py() == b'{"prompt":"p","completion":"c"}'
    assert (table["source"][1].as_py(), table["line"][1].as_py()) == ("data/a.jsonl", 4)
    assert [text_sha(messages) for messages in table["messages"].to_pylist()] == table["text_sha"].to_pylist()
    assert pq.read_table(folder / "duplicates.parquet").to_pylist() == [
        {"source": "data/a.jsonl", "line": 5, "id": 0}, {"source": "data/g.parquet", "line": 2, "id": 2}
    ]  # fmt: skip
    faults = [(entry["source"][5:], entry["line"], entry["reason"]) for entry in quarantine_of(folder)]
    cut_at = faults[5][1]
    assert faults == [
        ("a.jsonl", 3, "malformed_json"), ("a.jsonl", 6, "not_an_object"), ("a.jsonl", 7, "invalid_utf8"),
        ("a.jsonl", 8, "record_too_large"), ("b.json", 2, "missing_field"), ("c.jsonl.gz", cut_at, "truncated_file"),
        ("e.parquet", None, "corrupt_file"),
    ]  # fmt: skip
    sources = {source["uri"][5:]: source for source in found["sources"]}
    assert sources["c.jsonl.gz"]["formats"]["alpaca"] == cut_at - 1 > 100
    assert sources["f.jsonl"]["records"] == 0
    assert "data/f.jsonl has no records (0 bytes)" in said
    assert sources["b.json"]["sha256"] == hashlib.sha256((data / "b.json").read_bytes()).hexdigest()
    assert sum("format alpaca" in line for line in said) == 1
    assert set(found["examples"]) == {"alpaca", "prompt-completion", "dolly", "query-response"}
    assert found["key"] == ingest_key(["data"], replace(SETTINGS, max_record_bytes=2000))


@pytest.fixture
def corpus():
    """1,000 lines: every tenth a repeat of an earlier one, every fiftieth malformed."""
    lines = []
    for number in range(1000):
        said = number // 3 if number % 10 == 0 else number
        line = json.dumps({"instruction": f"question {said}", "output": "ö" * (number % 97)}, ensure_ascii=False)
        lines.append(lines[number // 3] if number % 10 == 0 and number else line[:-1] if number % 50 == 7 else line)
    return [line.encode() for line in lines]


@pytest.mark.fault(
    "rows divide otherwise among workers, batches, files and shards",
    how="any splits, files and compressions",
    holds="the same pool",
)
def test_ingest_any_splits_files_and_compressions_give_the_same_pool(run, tmp_path, corpus):
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"\n".join(corpus))
    pieces = [tmp_path / f"piece{n}.jsonl" for n in range(5)]
    for number, piece in enumerate(pieces):
        piece.write_bytes(b"\n".join(corpus[number * 200 : number * 200 + 200]))
    packed = tmp_path / "packed.jsonl.zst"
    packed.write_bytes(zstandard.compress(b"\n".join(corpus)))
    first, folder, _ = run([whole], "one")
    expected = samples_of(folder)
    assert first["records"] == 1000
    assert first["duplicates"] > 50 < first["quarantined"] + 40
    for name, inputs, settings in (
        ("splits", [whole], replace(SETTINGS, split_bytes=9999)),
        ("five", pieces, SETTINGS),
        ("packed", [packed], SETTINGS),
    ):
        found, folder, _ = run(inputs, name, settings)
        assert found["fingerprint"] == first["fingerprint"]
        table = samples_of(folder)
        for column in ("id", "sha", "messages", "raw"):
            assert table[column].equals(expected[column])
        if name != "five":
            assert table["line"].equals(expected["line"])
            assert [entry["line"] for entry in quarantine_of(folder)] == [
                entry["line"] for entry in quarantine_of(tmp_path / "one")
            ]
            assert pq.read_table(folder / "duplicates.parquet")["line"].equals(
                pq.read_table(tmp_path / "one" / "duplicates.parquet")["line"]
            )
    blocks = json.loads((tmp_path / "splits" / "pool.json").read_text())["sources"][0]["sha256-blocks"]
    data = whole.read_bytes()
    digests = [hashlib.sha256(data[at : at + 9999]).digest() for at in range(0, len(data), 9999)]
    assert blocks == {"block_bytes": 9999, "sha256": hashlib.sha256(b"".join(digests)).hexdigest()}


def test_ingest_over_what_an_earlier_one_left_starts_clean(run, tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text('{"instruction": "a", "output": "b"}\n')
    pool = tmp_path / "pool"
    (pool / ".tmp-old").mkdir(parents=True)
    for name in (
        "part-00000.parquet",
        "part-00007.parquet",
        f".{uuid.uuid4().hex}.tmp",
        "pool.json",
        "mine.txt",
    ):
        (pool / name).write_text("left over")
    _, folder, _ = run([source])
    assert sorted(os.listdir(folder)) == [
        "duplicates.parquet", "mine.txt", "part-00000.parquet", "pool.json", "quarantine.jsonl"
    ]  # fmt: skip
    (tmp_path / "none.jsonl").write_text("nothing\n")
    found, folder, _ = run([tmp_path / "none.jsonl"])
    assert (found["samples"], found["parts"], found["reasons"]) == (0, [], {"malformed_json": 1})


@pytest.mark.fault(
    "a disk is full", how="a task of the ingest raises ENOSPC", holds="the driver has its number and path"
)
def test_fetched_full_disk_is_the_os_error_with_its_path(ray_session):
    @ray.remote
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "/pool/part-00000.parquet")

    with pytest.raises(OSError, match="No space left on device") as raised:
        fetched(full.remote())
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "/pool/part-00000.parquet")


def test_ingest_into_its_own_input_is_refused(run, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    with pytest.raises(InputError, match="the pool would lie inside this input"):
        run([tmp_path], "pool")
    run([tmp_path], ".winnow/pool")
