"""Files by their content, whatever their names: `pytest tests/jobs/engine/ingest/test_forms.py`."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import zstandard

from jobs.engine.ingest import IngestSettings, InputError
from jobs.engine.ingest.files.inputs import sources_of
from jobs.engine.ingest.files.splits import splits_of
from jobs.engine.ingest.files.streams import Range
from jobs.engine.ingest.parse import reader_of

RECORDS = [{"instruction": f"问 {n}, é", "output": f'{n}\n"x"'} for n in range(5)]
LINES = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
TEXT = "\n".join(LINES) + "\n"


def read(path, split_bytes=1 << 20):
    """The records and the faults of a file, read as ingest reads it."""
    records, faults = [], []
    for split in splits_of(sources_of([str(path)], print), split_bytes):
        with open(split.path, "rb") as file:
            for piece in reader_of(split, Range(file, split.start, split.stop), IngestSettings()):
                faults.append(piece.fault) if piece.fault else records.append(json.loads(piece.raw))
    return records, [str(fault) for fault in faults]


def table():
    return pa.Table.from_pylist(RECORDS)


def stream():
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table().schema) as writer:
        writer.write_table(table())
    return sink.getvalue()


def written(write):
    sink = io.BytesIO()
    write(table(), sink)
    return sink.getvalue()


def tsv(delimiter):
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerow(RECORDS[0])
    writer.writerows(record.values() for record in RECORDS)
    return sink.getvalue()


def archive():
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as made:
        for n, line in enumerate(LINES):
            for name, data in ((f"{n}.json", line.encode()), (f"{n}.jpg", b"\xff\xd8")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                made.addfile(member, io.BytesIO(data))
    return sink.getvalue()


CONTENTS = {
    "lines": TEXT.encode(),
    "lines with commas": ",\n".join(LINES).encode() + b",\n",
    "lines, \\r\\n, with marks in between": b"".join(b"\xef\xbb\xbf" + line.encode() + b"\r\n" for line in LINES),
    "array": json.dumps(RECORDS).encode(),
    "array over several lines": json.dumps(RECORDS, indent=2).encode(),
    "array with its lines": ("[\n" + ",\n".join(LINES) + "\n]\n").encode(),
    "objects over several lines": "\n".join(json.dumps(record, indent=2) for record in RECORDS).encode(),
    "wrapped": json.dumps({"data": RECORDS}).encode(),
    "wrapped, with fields about it": json.dumps(
        {"version": "1.0", "n": 5, "rows": RECORDS, "end": True}, indent=1
    ).encode(),
    "gzip": gzip.compress(TEXT.encode()),
    "zstd": zstandard.compress(TEXT.encode()),
    "pzstd": b"\x50\x2a\x4d\x18\x04\0\0\0size" + zstandard.compress(TEXT.encode()),
    "bz2": bz2.compress(TEXT.encode()) + bz2.compress(b""),
    "xz": lzma.compress(json.dumps({"data": RECORDS}).encode()),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16, big end first": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-32": json.dumps(RECORDS, indent=1).encode("utf-32"),
    "parquet": written(pq.write_table),
    "feather": written(pyarrow.feather.write_feather),
    "arrow stream": stream(),
    "tar": archive(),
    "tar.gz": gzip.compress(archive()),
}


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data", "data.csv"])
@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_is_read_by_its_content_whatever_its_name_and_size(content, name, tmp_path):
    (tmp_path / name).write_bytes(CONTENTS[content])
    assert read(tmp_path / name) == (RECORDS, [])
    assert read(tmp_path / name, split_bytes=100) == (RECORDS, [])
    assert read(tmp_path, split_bytes=100) == (RECORDS, [])


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.csv.gz"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_table_has_the_names_of_its_header(name, delimiter, tmp_path):
    data = tsv(delimiter).encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read(tmp_path / name) == (RECORDS, [])


def long_window():
    wide = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    return packer.compress(TEXT.encode()) + packer.flush()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.csv", b"instruction,output\na,b\nc\n", "ragged_row"),
        ("a.csv", b"instruction,instruction\na,b\n", "there are two columns 'instruction'"),
        ("a.csv", "问题,答案\n问,答\n".encode("gbk"), "save the file as UTF-8"),
        ("a.csv", b'instruction,output\n"a,b\n', "not readable as csv"),
        ("a.jsonl", bz2.compress(TEXT.encode())[:-8], "the bz2 file ends before its end mark"),
        ("a.jsonl", b"\xff\xfe" + TEXT.encode("utf-16-le")[:-1], "not readable as utf-16-le"),
        ("a.arrow", stream()[:-200], "not readable as Arrow"),
        ("a.jsonl", long_window(), "it was packed with a window above 128 MiB: repack it without --long"),
        ("a.tar", archive()[:700], "not readable as a tar archive"),
        ("a.json", json.dumps({"train": RECORDS}).encode() + b" x", "1 bytes follow the end of the object"),
    ],
)
def test_a_broken_file_says_what_is_wrong(name, data, says, tmp_path):
    (tmp_path / name).write_bytes(data)
    _, faults = read(tmp_path / name)
    assert len(faults) == 1
    assert says in faults[0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
            "run `git lfs pull` where it was cloned",
        ),
        (b"<!DOCTYPE html>\n<html><title>Login \xe9</title>", "a web page, titled 'Login"),
    ],
)
@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet", "train"])
def test_what_stands_in_place_of_data_is_refused_by_what_it_is(name, data, says, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says):
        sources_of([str(tmp_path / name)], print)


def test_a_record_with_a_list_of_messages_is_no_wrapper(tmp_path):
    record = {"id": 1, "messages": [{"role": "user", "content": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(record, indent=1))
    assert read(tmp_path / "a.json") == ([record], [])


def test_of_a_saved_dataset_the_shards_of_the_train_split_are_read(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "data-0.arrow").write_bytes(stream())
        (tmp_path / split / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
        (tmp_path / split / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    said = []
    found = [source.uri for source in sources_of([str(tmp_path)], said.append)]
    assert found == [f"{tmp_path}/train/data-0.arrow"]
    assert any("the splits test" in line for line in said)
    assert [source.uri for source in sources_of([f"{tmp_path}/test"], print)] == [f"{tmp_path}/test/data-0.arrow"]
