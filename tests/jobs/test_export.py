"""What a run has kept, as trainers and the hub read it."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from jobs import export, ingest
from tests.jobs.corpora import jsonl, records

TOOL = {
    "name": "天气",
    "description": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "天气", "arguments": '{"city": "Oslo"}'}}
CHATS = [
    {
        "tools": [TOOL],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "天气怎么样?"},
            {"role": "assistant", "content": "", "reasoning_content": "I should look.", "tool_calls": [CALL]},
            {"role": "tool", "content": "4 °C", "name": "天气"},
            {"role": "assistant", "content": "四度。"},
        ],
    },
    {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "4", "reasoning_content": "Two and two."},
            {"role": "user", "content": "And\u2028 3+3? 🙂"},
            {"role": "assistant", "content": "6"},
            {"role": "user", "content": "Thanks"},
        ]
    },
    {
        "messages": [
            {"role": "assistant", "content": "Hello, how can I help?"},
            {"role": "user", "content": "Say hi."},
            {"role": "assistant", "content": "hi"},
        ]
    },
]


@pytest.fixture
def kept(tmp_path):
    """Writes the folder `out` of a run that has kept these records, and whose pool is gone."""

    def write(*made):
        (tmp_path / "out").mkdir()
        jsonl(tmp_path / "out/selected.jsonl", made)
        manifest = {
            "winnow_manifest": 1,
            "run": {"recipe": "at_random", "reading": {}},
            "pool": {"folder": str(tmp_path / "gone")},
            "counts": {"kept": len(made)},
            "finished": "2026-01-01T00:00:00+00:00",
        }
        (tmp_path / "out/manifest.yaml").write_text(yaml.safe_dump(manifest))
        (tmp_path / "out/README.md").write_text("---\ntags: [winnow]\n---\n# Kept\n")

    return write


def loaded(file, tmp_path) -> list[dict]:
    """The rows that `datasets` loads, without the nulls that it puts where a field is missing."""

    def without_nulls(value):
        if isinstance(value, dict):
            return {name: without_nulls(each) for name, each in value.items() if each is not None}
        return [without_nulls(each) for each in value] if isinstance(value, list) else value

    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    return sorted(map(without_nulls, rows), key=lambda row: "四度" not in json.dumps(row, ensure_ascii=False))


def test_conversations_with_tools_and_reasoning_in_the_layout_of_each_trainer(run, tmp_path, kept):
    kept(*CHATS)
    for trainer in export.TARGETS[:-1]:
        code, said = run("out", "--to", trainer, command=export)
        left_out = trainer == "llamafactory"
        assert code == 0
        assert f"{3 - left_out} of 3 samples are in " in said
        assert ("left out 1: the assistant speaks first (the first is out/selected.jsonl:" in said) == left_out
        assert run("out", "--to", trainer, command=export) == (
            2,
            f"error: --out out-{trainer} exists already; name another folder\n",
        )

    entry = json.loads((tmp_path / "out-llamafactory/dataset_info.json").read_text())["winnow_at_random"]
    first, second = loaded(tmp_path / "out-llamafactory" / entry["file_name"], tmp_path)
    turns = first[entry["columns"]["messages"]]
    assert [turn["from"] for turn in turns] == ["human", "function_call", "observation", "gpt"]
    think, call = turns[1]["value"].split("\n</think>\n\n")
    assert (think, json.loads(call)) == ("<think>\nI should look.", [{"name": "天气", "arguments": {"city": "Oslo"}}])
    assert (first["system"], json.loads(first["tools"])[0]["function"]) == ("Be brief.", TOOL)
    assert [turn["value"] for turn in second["conversations"]] == [
        "2+2?", "<think>\nTwo and two.\n</think>\n\n4", "And\u2028 3+3? 🙂", "6",
    ]  # fmt: skip
    assert entry["formatting"] == "sharegpt"
    assert set(entry["tags"].values()) >= {turn["from"] for turn in turns}

    data = yaml.safe_load((tmp_path / "out-trl/trl.yaml").read_text())
    first = loaded(data["datasets"][0]["data_files"], tmp_path)[0]
    assert json.loads(first["tools"]) == [{"type": "function", "function": TOOL}]
    asked = first["messages"][2]
    assert asked["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "天气", "arguments": {"city": "Oslo"}}}
    ]
    assert asked["reasoning_content"] == "I should look."
    assert first["messages"][3] == {"role": "tool", "content": "4 °C", "name": "天气"}

    (data,) = yaml.safe_load((tmp_path / "out-axolotl/axolotl.yaml").read_text())["datasets"]
    first = loaded(data["path"], tmp_path)[0]
    function = first[data["field_tools"]][0]["function"]
    assert json.loads(function["parameters"]) == TOOL["parameters"]
    called = first[data["field_messages"]][2]["tool_calls"][0]["function"]
    assert (data["type"], json.loads(called["arguments"])) == ("chat_template", {"city": "Oslo"})

    path, share = yaml.safe_load((tmp_path / "out-open-instruct/open_instruct.yaml").read_text())["dataset_mixer_list"]
    messages = loaded(path, tmp_path)[0]["messages"]
    assert [each["role"] for each in messages] == ["system", "user", "assistant", "environment", "assistant"]
    assert (json.loads(messages[0]["functions"]), float(share)) == ([TOOL], 1)

    assert str(tmp_path / "out-ms-swift/winnow_at_random.jsonl") in (tmp_path / "out-ms-swift/ms_swift.sh").read_text()
    messages = loaded(tmp_path / "out-ms-swift/winnow_at_random.jsonl", tmp_path)[0]["messages"]
    roles = ["system", "user", "assistant", "tool_call", "tool_response", "assistant"]
    assert [each["role"] for each in messages] == roles
    assert json.loads(messages[3]["content"]) == {"name": "天气", "arguments": {"city": "Oslo"}}


def test_media_that_the_data_of_a_trainer_does_not_have_are_named(run, kept):
    asked = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "这是什么?"}]
    talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": "a cat"}]
    said = {"messages": [{"role": "user", "content": "Which word?"}, {"role": "assistant", "content": "x"}]}
    kept({"messages": talk}, {**said, "audio": "b.wav"}, said)
    code, told = run("out", "--to", "ms-swift", command=export)
    assert code == 0
    assert "not in the data: 1 audio, 1 image; the texts have a placeholder such as <image>" in told
    assert "3 of 3 samples are in " in told


@pytest.mark.usefixtures("ray_session")
def test_one_turn_as_alpaca_and_as_prompt_and_completion_with_the_columns_of_the_pool(run, tmp_path):
    rows = [{"q": f"Translate {i}.", "more": f"文{i}", "a": f"答 {i}", "n": i} for i in range(4)]
    jsonl(tmp_path / "in.jsonl", rows)
    columns = "instruction=q,input=more,response=a"
    assert run("in.jsonl", "--out", "pool", "--columns", columns, command=ingest)[0] == 0
    assert run("at_random", "pool", "--out", "out", "budget=4")[0] == 0
    kept = [json.loads(line) for line in (tmp_path / "out/selected.jsonl").read_text().splitlines()]
    assert run("out", "--to", "trl", "--out", "for/trl", command=export)[0] == 0
    data = yaml.safe_load((tmp_path / "for/trl/trl.yaml").read_text())
    found = loaded(data["datasets"][0]["data_files"], tmp_path)
    assert [row["prompt"][0]["content"] for row in found] == [f"{row['q']}\n{row['more']}" for row in kept]
    assert [row["completion"] for row in found] == [[{"role": "assistant", "content": row["a"]}] for row in kept]
    assert data["completion_only_loss"]

    (tmp_path / "pool").rename(tmp_path / "gone")
    code, said = run("out", "--to", "llamafactory", "--out", "for/lf", command=export)
    assert code == 1
    assert "out/selected.jsonl:1: " in said
    assert "--columns instruction=q,response=a" in said
    assert not (tmp_path / "for/lf").exists()
    assert run("out", "--to", "llamafactory", "--out", "for/lf", "--columns", columns, command=export)[0] == 0
    (entry,) = json.loads((tmp_path / "for/lf/dataset_info.json").read_text()).values()
    found = loaded(tmp_path / "for/lf" / entry["file_name"], tmp_path)
    assert entry["formatting"] == "alpaca"
    assert [row[entry["columns"]["response"]] for row in found] == [row["a"] for row in kept]
    # the input has no field of Alpaca's or Dolly's name, so it stays in the instruction, as LLaMA-Factory joins them
    asked = [f"{row['instruction']}\n{row['input']}".strip() for row in found]
    assert asked == [f"{row['q']}\n{row['more']}" for row in kept]


@pytest.mark.usefixtures("ray_session")
def test_the_hub_s_folder_keeps_the_schema_and_is_loaded_by_datasets(run, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    made = records(12)
    schema = pa.schema(
        [("instruction", pa.string()), ("input", pa.string()), ("output", pa.large_string()), ("number", pa.int16())]
    )
    pq.write_table(
        pa.Table.from_pylist([{k: r[k] for k in schema.names} for r in made], schema), tmp_path / "in.parquet"
    )
    assert run("at_random", "in.parquet", "--out", "out", "budget=5")[0] == 0
    code, said = run("out", "--to", "hub", "--repo", "me/kept", "--dry-run", "--out", "sent", command=export)
    assert code == 0
    assert "5 samples would go to me/kept (private); nothing was uploaded" in said
    (shard,) = (tmp_path / "sent/data").iterdir()
    assert pq.read_table(shard).equals(pq.read_table(tmp_path / "out/selected.parquet"))
    assert pq.read_schema(shard).equals(schema)
    loaded = load_dataset(str(tmp_path / "sent"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["number"][:] == pq.read_table(shard)["number"].to_pylist()
    assert sorted(path.name for path in (tmp_path / "sent").iterdir()) == ["README.md", "data"]

    assert run("out", "--to", "hub", "--repo", "me/kept", command=export) == (
        2,
        "error: no token for the hub: log in with `hf auth login`, or set HF_TOKEN; --dry-run needs none\n",
    )
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    code, said = run("out", "--to", "hub", "--repo", "me/kept", command=export)
    assert (code, said.splitlines()[-1].startswith("error: the hub did not take me/kept: ")) == (1, True)


def test_fields_whose_values_differ_in_type_are_json_text_in_the_hub_s_shards(run, tmp_path, kept, monkeypatch):
    monkeypatch.setattr("jobs.engine.export.shards.SHARD_BYTES", 10)
    monkeypatch.setattr("jobs.engine.export.shards.BATCH", 1)
    made = [
        {"instruction": "a", "output": "b", "extra": 1, "score": 1, "empty": {}, "tags": ["x"], "key": 2**60 + 1},
        {"instruction": "c", "output": "d", "extra": "one", "score": 0.5, "empty": {}, "tags": None, "key": 0.5},
    ]
    kept(*made)
    code, said = run("out", "--to", "hub", "--repo", "me/kept", "--dry-run", "--out", "sent", command=export)
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "sent/data").iterdir()) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    assert "written as JSON text, because their values differ in type: extra, empty, key" in said
    found = load_dataset(str(tmp_path / "sent"), split="train", cache_dir=str(tmp_path / "cache")).to_list()
    assert sorted(found, key=lambda row: row["instruction"]) == [
        {"instruction": "a", "output": "b", "extra": "1", "score": 1.0, "empty": "{}", "tags": ["x"],
         "key": str(2**60 + 1)},
        {"instruction": "c", "output": "d", "extra": "one", "score": 0.5, "empty": "{}", "tags": None, "key": "0.5"},
    ]  # fmt: skip


def test_what_is_no_run_or_no_target_is_refused_in_a_line(run, tmp_path, kept):
    kept(*records(2))
    code, said = run("out", "--to", "llama-factory", command=export)
    assert (code, "did you mean 'llamafactory'?" in said, said.count("\n")) == (2, True, 1)
    assert run("nowhere", "--to", "trl", command=export) == (
        2,
        "error: nowhere holds no run: it has no manifest.yaml\n",
    )
    code, said = run("out", "--to", "trl", "--repo", "me/kept", command=export)
    assert (code, said) == (2, "error: --repo is for --to hub, not for --to trl\n")
    for words in ([], ["--repo", "kept"], ["--repo", "me/ke pt"]):
        code, said = run("out", "--to", "hub", "--dry-run", *words, command=export)
        assert (code, "--repo" in said, said.count("\n")) == (2, True, 1)
    code, said = run("out", "--to", "trl", "--out", "out/trl", command=export)
    assert (code, said) == (2, "error: --out out/trl is in the folder of the run; name another folder\n")
    lines = (tmp_path / "out/selected.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out/selected.jsonl").write_text(lines[0])
    code, said = run("out", "--to", "trl", command=export)
    assert (code, "has 1 records, and the run kept 2" in said) == (1, True)
    manifest = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())
    del manifest["finished"]
    (tmp_path / "out/manifest.yaml").write_text(yaml.safe_dump(manifest))
    code, said = run("out", "--to", "trl", command=export)
    assert (code, said) == (1, "error: the run in out has not finished; run its command again\n")
    assert not (tmp_path / "out-trl").exists()


@pytest.fixture
def hub(monkeypatch):
    """A server that answers as the hub does: what it was sent, by path, and the facts of its repository."""
    sent, facts = {}, {"private": True}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer({"_id": "1", "id": "me/kept", "sha": "0" * 40, "siblings": [], "tags": [], **facts})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/preupload/main"):
                files = [
                    {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for each in json.loads(body)["files"]
                ]
                self.answer({"files": files})
            elif self.path.endswith("/commit/main"):
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        sent[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer(
                    {"commitUrl": f"{address}/datasets/me/kept/commit/1", "commitOid": "1", "pullRequestUrl": None}
                )
            elif self.path.endswith("/repos/create"):
                sent["create"] = json.loads(body)
                self.answer({"url": f"{address}/datasets/me/kept"})
            else:
                self.answer({})

        def answer(self, content):
            written = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    yield sent, facts
    server.shutdown()


def test_an_upload_makes_a_private_repository_and_never_writes_to_a_public_one(run, hub, kept):
    sent, facts = hub
    kept(*records(3))
    code, said = run("out", "--to", "hub", "--repo", "me/kept", command=export)
    assert code == 0
    assert "3 samples are in me/kept (private): http://127.0.0.1" in said
    assert sent.pop("create")["visibility"] == "private"
    assert sorted(sent) == ["README.md", "data/train-00000-of-00001.parquet"]
    assert pq.read_table(pa.BufferReader(sent["data/train-00000-of-00001.parquet"])).to_pylist() == records(3)
    assert b"path: data/train-*" in sent["README.md"]
    sent.clear()
    facts["private"] = False
    code, said = run("out", "--to", "hub", "--repo", "me/kept", command=export)
    assert (code, "me/kept is public; say --public, or name another repository" in said) == (2, True)
    assert set(sent) == {"create"}
    assert run("out", "--to", "hub", "--repo", "me/kept", "--public", command=export)[0] == 0
    assert sent["create"]["visibility"] == "public"
