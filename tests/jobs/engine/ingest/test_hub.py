"""Datasets of the hub, on a server of this machine: `pytest tests/jobs/engine/ingest/test_hub.py`."""

import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.ingest import IngestSettings, InputError
from jobs.engine.ingest.files.hub import asking_the_hub
from jobs.engine.ingest.files.inputs import sources_of
from jobs.engine.ingest.files.splits import splits_of
from jobs.engine.ingest.files.streams import Range, file_at
from jobs.engine.ingest.parse import reader_of

ROWS = {"train": [{"question": "问", "answer": "答"}], "test": [{"question": "q", "answer": "a"}]}


@contextmanager
def hub():
    """A hub with the datasets me/one, of one configuration, and me/two, of two; gives its address."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            here = f"http://127.0.0.1:{self.server.server_port}"
            configs = {"/api/datasets/me/one/parquet": ["default"], "/api/datasets/me/two/parquet": ["zh", "en"]}
            if names := configs.get(self.path):
                files = {name: {split: [f"{here}/{split}/0.parquet"] for split in ROWS} for name in names}
                self.reply(json.dumps(files).encode())
            elif (split := self.path.split("/")[1]) in ROWS:
                sink = io.BytesIO()
                pq.write_table(pa.Table.from_pylist(ROWS[split]), sink)
                self.reply(sink.getvalue())
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def reply(self, data):
            begin, end = 0, len(data)
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes="):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(int(last) + 1 if last else end, end)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - begin))
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[begin:end])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with hub() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield


def rows(given):
    said, found = [], []
    for split in splits_of(sources_of([given], said.append), 1 << 20):
        with file_at(split.path) as file:
            pieces = list(reader_of(split, Range(file), IngestSettings()))
            found += [json.loads(piece.raw) for piece in pieces]
    return found, said


@pytest.mark.parametrize(
    ("given", "split"),
    [
        ("me/one", "train"),
        ("hf://datasets/me/one", "train"),
        ("hf://datasets/me/one/test", "test"),
        ("me/two:zh", "train"),
        ("hf://datasets/me/two:en/test", "test"),
    ],
)
def test_a_dataset_is_read_by_its_name_and_its_test_split_only_where_it_is_named(online, given, split):
    found, said = rows(given)
    assert found == ROWS[split]
    assert any(f"the split {split} of me/" in line for line in said)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("me/two", "name a configuration, such as me/two:zh; there are zh, en"),
        ("hf://datasets/me/one/dev", "no split 'dev'; name one, such as hf://datasets/me/one:default/train"),
        ("me/none", "no such file or folder, and on the hub there is no public dataset of this name"),
    ],
)
def test_what_the_hub_does_not_have_is_said_with_what_it_has(online, given, says):
    with pytest.raises(InputError, match=says):
        rows(given)


@pytest.mark.parametrize("given", ["me/one", "hf://datasets/me/one", "hf://datasets/me/one/data/train.parquet"])
def test_without_a_network_the_message_says_so_and_what_to_do(given, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        InputError, match=r"cannot be reached .HF_HUB_OFFLINE is set.*--repo-type dataset me/one --local"
    ):
        rows(given)
    if not given.endswith(".parquet"):
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(InputError, match="the hub cannot be reached"):
            rows(given)


def test_a_client_of_the_hub_that_fails_in_its_own_way_is_one_line_and_other_errors_stay(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with (
        pytest.raises(InputError, match=r"the hub cannot be reached .no such host"),
        asking_the_hub("hf://datasets/a/b/c.json"),
    ):
        raise RuntimeError("no such host")
    with pytest.raises(RuntimeError), asking_the_hub("data.jsonl"):
        raise RuntimeError("no such host")
