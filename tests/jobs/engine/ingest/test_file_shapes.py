"""Shapes of files that users have: `pytest tests/jobs/engine/ingest/test_file_shapes.py`."""

import gzip
import io
import json
import pickle
import sqlite3
import tarfile
import zipfile

import pyarrow.parquet as pq
import pytest

from jobs.engine.ingest import IngestSettings, InputError, RecordFault
from jobs.engine.ingest.files.arrays import by_array
from jobs.engine.ingest.files.inputs import sources_of
from jobs.engine.ingest.files.splits import splits_of
from jobs.engine.ingest.files.streams import Range
from jobs.engine.ingest.parse import parse_split, quarantine_name, reader_of, rows_name
from jobs.engine.ingest.records.records import record_of, samples_of
from jobs.engine.store.folder import Folder
from tests.jobs.engine.ingest.test_forms import LINES, RECORDS, TEXT, read, written


def tar(members):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as made:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return sink.getvalue()


PRETTY = json.dumps(RECORDS[:2], indent=1).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", "".join(LINES).encode()),  # no line ends between objects
        ("a.jsonl", f"{LINES[0]}{LINES[1]}\n{LINES[2]} {LINES[3]}\n{LINES[4]}".encode()),
        ("a.jsonl", "\r".join(LINES).encode()),  # the line ends of old Macs
        ("a.tar.gz", tar({"d/train.jsonl": TEXT.encode(), "d/x.jpg": b"\xff", "d/._train.jsonl": b"\0mac"})),
        (
            "a.tar",
            tar({"a.json": PRETTY, "b.ndjson": "\n".join(LINES[2:]).encode()}),
        ),
        ("a.parquet", TEXT.encode()),  # the name is wrong
        ("a.tar", json.dumps(RECORDS).encode()),
    ],
)
def test_no_record_of_an_unusual_file_is_lost(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name) == (RECORDS, [])


def test_a_conversation_on_the_only_line_is_one_record(tmp_path):
    talk = [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}]
    (tmp_path / "a.jsonl").write_text(json.dumps(talk) + "\n")
    (tmp_path / "b.json").write_text(json.dumps([{"messages": talk}]))
    assert [read(tmp_path / name)[0] for name in ("a.jsonl", "b.json")] == [[talk], [{"messages": talk}]]


def test_the_rows_after_a_broken_one_of_a_csv_file_are_read(tmp_path):
    rows = 'instruction,output\r\na,b\r\nc,"say \\"hi\\""\r\nd,"e\r\nf"\r\ng,"never closed\r\nh,i\r\n'
    (tmp_path / "a.csv").write_bytes(rows.encode())
    records, faults = read(tmp_path / "a.csv")
    assert records == [{"instruction": "a", "output": "b"}, {"instruction": "d", "output": "e\r\nf"}]
    assert ["malformed_csv" in fault for fault in faults] == [True, True]
    assert "a quote that is opened on line 6 may not be closed" in faults[1]


def test_a_row_of_a_csv_file_that_is_not_utf_8_costs_that_row_alone(tmp_path):
    rows = [f"问{number},答" for number in range(2000)]
    rows[1500] = "q,caf\udce9"
    (tmp_path / "a.csv").write_bytes("\n".join(["instruction,output", *rows]).encode("utf-8", "surrogateescape"))
    (split,) = splits_of(sources_of([str(tmp_path / "a.csv")], print), 1 << 20)
    found = parse_split(split, 0, IngestSettings(), Folder(str(tmp_path)))
    assert (found.samples, found.kinds) == (1999, {"invalid_utf8": 1})
    number, said = (tmp_path / quarantine_name(0)).read_text().split("\t")
    assert number == "1502"
    assert "byte 0xe9 at byte 36 is not UTF-8 (invalid continuation byte): save the file as UTF-8" in said
    (tmp_path / "b.csv").write_bytes(b"instruction,outp\xfct\na,b\n")
    records, faults = read(tmp_path / "b.csv")
    assert not records
    assert "the names of the columns are not UTF-8" in faults[0]


def zipped(name):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as made:
        made.writestr(name, TEXT)
    return sink.getvalue()


def database(path):
    with sqlite3.connect(path) as made:
        made.execute("create table records (instruction)")
    made.close()


REFUSED = [
    (zipped("train.jsonl"), "a zip archive: unpack it"),
    (zipped("[Content_Types].xml"), "an Excel workbook: save the sheet as csv"),
    (pickle.dumps(RECORDS), "a Python pickle, which is not safe to read"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: write it as parquet"),
    (b"%PDF-1.7", "a PDF document"),
    (gzip.compress(gzip.compress(TEXT.encode())), "gzip inside gzip: unpack it once"),
    (gzip.compress(written(pq.write_table)), "parquet inside gzip: unpack it once"),
]


@pytest.mark.parametrize(("data", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_a_file_of_another_kind_is_refused_with_what_to_do(data, says, tmp_path):
    for name in ("train.jsonl", "train"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=says):
            sources_of([str(tmp_path / name)], print)


def test_a_database_and_an_archive_without_records_are_named(tmp_path):
    database(tmp_path / "a.db")
    with pytest.raises(InputError, match="an SQLite database: write its table as csv"):
        sources_of([str(tmp_path / "a.db")], print)
    for data, says in (
        (tar({"a.txt": b"x"}), "an archive without a json file"),
        (
            tar({"a.json": b"{}", "b.csv": b"a,b"}),
            "files that are not read inside an archive, such as b.csv",
        ),
        (tar({"a.json": gzip.compress(b"{}")}), "a.json: no JSON"),
    ):
        (tmp_path / "a.tar.gz").write_bytes(data)
        assert says in read(tmp_path / "a.tar.gz")[1][0]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{'instruction': 'a', 'output': 'b'}", "it is written as Python does, and not as json.dumps"),
        ('{"instruction": "翻译成英文", "output": "你好"}'.encode("gbk"), "with iconv -f gb18030 -t utf-8"),
        ('{"instruction": "é", "output": "ü"}'.encode("latin1"), "with iconv -f latin1 -t utf-8"),
    ],
)
def test_a_record_that_is_no_json_in_utf_8_says_what_to_do(raw, says):
    with pytest.raises(RecordFault, match=says):
        record_of(raw, 9)
    with pytest.raises(RecordFault, match="the record is a single message"):
        samples_of(b'{"from": "human", "value": "a"}', IngestSettings())


WRAPPED = [
    ({"train": RECORDS[:2], "more": RECORDS[2:]}, ["train", "more"]),
    ({"v": "1", "info": {"by": ["a"]}, "data": RECORDS[:2], "n": None, "train": RECORDS[2:]}, ["data", "train"]),
    ({"data": {"train_sft": RECORDS[:4], "extra": RECORDS[4:]}}, ["data.train_sft", "data.extra"]),
    ({"dataset": RECORDS[:1], "empty": [], "tags": ["x", "y"], "data": RECORDS[1:]}, ["dataset", "data"]),
    ({"data": RECORDS}, []),
    ({"data": {"train": RECORDS}, "licenses": ["MIT"]}, []),
]  # fmt: skip


def sources(path):
    """The sources of a file as ingest takes them, and what it says of them."""
    said = []

    def run(verb, function, calls):
        return [function(*call) for call in calls]

    return by_array(sources_of([str(path)], said.append), IngestSettings(), run, said.append), said


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":")}])
@pytest.mark.parametrize(("content", "arrays"), WRAPPED)
def test_each_array_of_a_file_is_a_source_and_none_is_lost(content, arrays, layout, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(content, **layout))
    assert read(tmp_path / "a.json") == (RECORDS, [])
    found, _ = sources(tmp_path / "a.json")
    assert [source.uri for source in found] == [
        f"{tmp_path}/a.json{f'#{name}' if name else ''}" for name in arrays or [""]
    ]
    lines = []
    for split in splits_of(found, 1):
        with open(split.path, "rb") as file:
            pieces = list(reader_of(split, Range(file), IngestSettings()))
        lines += [(json.loads(piece.raw), piece.line) for piece in pieces]
        assert [piece.line for piece in pieces] == [*range(1, len(pieces) + 1)]
    assert [record for record, _ in lines] == RECORDS


def test_an_array_for_tests_beside_one_for_training_is_read_only_by_its_name(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(gzip.compress(json.dumps({"test": RECORDS[:1], "train": RECORDS[1:], "x": [{}]}).encode()))
    found, said = sources(path)
    assert [source.uri for source in found] == [f"{path}#train", f"{path}#x"]
    assert (
        f"skipped in {path}: the arrays for tests, as there is one for training; to read them name {path}#test" in said
    )
    assert read(f"{path}#test") == (RECORDS[:1], [])
    (tmp_path / "lines.jsonl").write_text(TEXT)
    with pytest.raises(InputError, match="#train: the file has no arrays with names"):
        sources_of([f"{tmp_path}/lines.jsonl#train"], print)
    with pytest.raises(InputError, match="#dev: there is no array of this name; those in the file are test, train, x"):
        sources(f"{path}#dev")


def test_a_fault_in_a_file_of_several_arrays_is_said_once(tmp_path):
    text = json.dumps({"train": RECORDS[:2], "x": RECORDS[2:]}, indent=1)
    (tmp_path / "cut.json").write_text(text[: text.rindex('"output"')])
    (tmp_path / "more.json").write_text(text + "{")
    (tmp_path / "odd.json").write_text(text.replace('"x": [', '"x" ['))
    for name in ("cut", "more", "odd"):
        faults = []
        for split in splits_of(sources(tmp_path / f"{name}.json")[0], 1):
            with open(split.path, "rb") as file:
                faults += [piece.fault for piece in reader_of(split, Range(file), IngestSettings()) if piece.fault]
        assert len(faults) == 1, name


def test_a_record_that_holds_a_list_of_records_is_no_wrapper(tmp_path):
    seed = {"id": "s", "instruction": "问", "instances": [{"input": "q", "output": "a"}]}
    talk = {"id": 1, "examples": [{"input": "q", "output": "a"}], "messages": [{"role": "user", "content": "q"}]}
    items = {"id": 1, "items": [{"value": "问", "from": "human"}, {"value": "答", "from": "gpt"}]}
    task = {"id": 7, "description": "sort", "test": [{"input": "q", "output": "a"}]}
    group = {"topic": "t", "data": [{"input": "q", "output": "a"}]}
    few = ([seed], [talk], [items], [task])
    for records in (*few, *(2 * records for records in few), [group, group]):
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
        (tmp_path / "b.json").write_text(json.dumps(records[0], indent=1))
        assert read(tmp_path / "a.jsonl") == (records, [])
        if records[0] is not group:
            assert read(tmp_path / "b.json") == (records[:1], [])
    objects = "\n".join(json.dumps({"data": RECORDS[n : n + 2]}) for n in (0, 2, 4))
    (tmp_path / "c.jsonl").write_text(objects)  # several objects that wrap
    assert read(tmp_path / "c.jsonl") == (RECORDS, [])


@pytest.fixture
def folder(tmp_path):
    """A folder of files, made by their paths."""

    def made(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(TEXT)
        said = []
        found = sources_of([str(tmp_path)], said.append)
        return [source.uri[len(str(tmp_path)) + 1 :] for source in found], said

    return made


def test_of_a_folder_with_splits_those_for_tests_are_left_out_and_named(folder):
    kept = ["data/train-00000-of-00001.jsonl", "train/a.jsonl", "gsm8k_train.jsonl", "code-eval/a.jsonl"]
    left = [
        "data/test-00000-of-00001.jsonl",
        "data/validation-00000-of-00001.jsonl",
        "test/a.jsonl",
        "gsm8k_test.jsonl",
    ]
    found, said = folder(*kept, *left, "other_dev.jsonl", "train/test_cases.jsonl", "latest.jsonl")
    assert found == sorted([*kept, "other_dev.jsonl", "train/test_cases.jsonl", "latest.jsonl"])
    assert any(
        "skipped in" in line and "of splits for tests, as there is one for training: data/test-0" in line
        for line in said
    )


def test_splits_for_tests_alone_are_read(folder):
    assert folder("test/a.jsonl", "dev.jsonl") == (["dev.jsonl", "test/a.jsonl"], [])


def test_descriptions_of_data_are_no_records_and_a_cache_is_read_by_its_snapshot(folder, tmp_path):
    cache = tmp_path / "datasets--o--n"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots" / "1").mkdir(parents=True)
    (cache / "blobs" / "old").write_text(LINES[0])
    (cache / "blobs" / "new").write_text(TEXT)
    (cache / "snapshots" / "1" / "train.jsonl").symlink_to("../../blobs/new")
    found, said = folder("dataset_info.json", "sub/dataset_infos.json", "a.jsonl")
    assert found == ["a.jsonl", "datasets--o--n/snapshots/1/train.jsonl"]
    assert any("files of other formats: " in line and line.count("dataset_info") == 2 for line in said)


def test_a_record_of_an_archive_is_one_line_of_the_pool_with_its_rejected_answer_and_its_label(tmp_path):
    pair = {"prompt": "问", "chosen": "答", "rejected": "b"}
    labelled = {"prompt": "问", "completion": "答", "label": True}
    (tmp_path / "a.tar").write_bytes(tar({"a.json": json.dumps([RECORDS[0], pair, labelled], indent=1).encode()}))
    (split,) = splits_of(sources_of([str(tmp_path / "a.tar")], print), 1 << 20)
    interim = Folder(str(tmp_path))
    assert parse_split(split, 0, IngestSettings(), interim).samples == 3
    rows = pq.read_table(tmp_path / rows_name(0))
    assert [json.loads(raw) for raw in rows["raw"].to_pylist()] == [RECORDS[0], pair, labelled]
    assert not any(b"\n" in raw for raw in rows["raw"].to_pylist())
    assert [each and each[0]["content"] for each in rows["rejected"].to_pylist()] == [None, "b", None]
    assert rows["label"].to_pylist() == [None, None, True]
