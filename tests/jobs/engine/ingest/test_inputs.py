"""What the inputs name: `pytest tests/jobs/engine/ingest/test_inputs.py`."""

import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.ingest import IngestSettings, InputError, ingest_key
from jobs.engine.ingest.files.inputs import sources_of
from jobs.engine.ingest.files.splits import splits_of
from jobs.engine.ingest.files.streams import file_at


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """data/{b.jsonl, a.JSON, notes.txt, .hidden.jsonl, more/c.parquet, [x].jsonl}, in the working directory."""
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    for name in ("b.jsonl", "a.JSON", ".hidden.jsonl", "[x].jsonl"):
        (folder / name).write_text("{}\n")
    (folder / "notes.txt").write_text("About the data.\n")
    pq.write_table(pa.table({"n": range(1000)}), folder / "more" / "c.parquet", row_group_size=100)
    monkeypatch.chdir(tmp_path)
    return folder


def uris(*inputs):
    said = []
    return [source.uri for source in sources_of(inputs, said.append)], said


def test_sources_of_a_folder_are_sorted_and_named_as_given(corpus):
    found, said = uris("data/")
    assert found == ["data/[x].jsonl", "data/a.JSON", "data/b.jsonl", "data/more/c.parquet"]
    assert said == ["skipped in data/, files of other formats: data/notes.txt"]
    assert uris("./data")[0][0] == "./data/[x].jsonl"
    assert uris(str(corpus))[0][2] == str(corpus / "b.jsonl")


def test_sources_of_globs_files_and_folders_keep_the_order_of_inputs(corpus):
    found, said = uris("data/[x].jsonl", "data/*.jsonl", "da*")
    assert found == ["data/[x].jsonl", "data/b.jsonl", "data/a.JSON", "data/more/c.parquet"]
    assert "skipped data/b.jsonl: it is data/b.jsonl, which is read already" in said


def test_sources_of_a_url_are_urls():
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/corpus/a.jsonl", b"{}")
    assert uris("memory://corpus")[0] == ["memory://corpus/a.jsonl"]
    assert uris("memory://corpus/*.jsonl")[0] == ["memory://corpus/a.jsonl"]
    (source,) = sources_of(["memory://corpus/a.jsonl"], print)
    assert fsspec.open(source.path).open().read() == b"{}"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["data/absent.jsonl"], "data/absent.jsonl: there is no such file"),
        (["data/b.jsonl,data/a.JSON"], "separated by spaces: data/b.jsonl data/a.JSON"),
        (["data/*.zip"], "data/*.zip: no file to read is there; files are read by their content: JSON,"),
        (["data/notes.txt"], "data/notes.txt: neither its head nor its name says what is in it; files are read by"),
        (["nosuch://x"], "nosuch://x: cannot be looked at"),
        ([], "no input was named"),
    ],
)
def test_sources_of_nothing_readable_is_refused_by_name(corpus, given, says):
    with pytest.raises(InputError) as raised:
        sources_of(given, print)
    assert says in str(raised.value)


def test_sources_of_a_folder_leave_pools_out(corpus):
    (corpus / "more" / "pool.json").write_text("{}")
    found, said = uris("data")
    assert "data/more/c.parquet" not in found
    assert said[0] == "skipped data/more/: it is a pool, not raw files"


RUNS = ("winnow_manifest: 1\nrun: {}\n", "winnow_training: 1\n", "winnow_scorer: 1\n", "winnow_evolution: 1\n")


@pytest.mark.parametrize("manifest", RUNS)
def test_sources_of_a_folder_leave_what_runs_wrote_out(corpus, manifest):
    run = corpus / "out" / "run"
    run.mkdir(parents=True)
    before, _ = uris("data")
    for name in ("selected.jsonl", "selection.parquet", "config.json"):
        (run / name).write_text("{}")
    (run / "manifest.yaml").write_text(manifest)
    for given in ("data", "data/**", "da*", "data/**/*.jsonl"):
        found, said = uris(given)
        assert not any("out/" in uri for uri in found), given
        assert "skipped data/out/run/: it is what a run of Winnow wrote, not raw files" in said
    assert uris("data")[0] == before
    assert uris("data/*/*/selected.jsonl")[0] == uris("data/out/run/selected.jsonl")[0]
    with pytest.raises(InputError, match=r"name what it holds: data/out/run/selected\.jsonl"):
        uris("data/out/run/")
    (run / "selected.jsonl").unlink()
    with pytest.raises(InputError, match="it holds no records"):
        uris("data/out/run")
    (run / "manifest.yaml").write_text("name: mine\n")
    assert "data/out/run/config.json" in uris("data")[0]


def test_sources_of_a_folder_leave_out_a_comparison_with_its_own_file(corpus):
    before, _ = uris("data")
    (corpus / "compared" / "ltd").mkdir(parents=True)
    (corpus / "compared" / "ltd" / "selected.jsonl").write_text("{}")
    (corpus / "compared" / "comparison.json").write_text('{\n "winnow_comparison": 1, "rows": [{}]}')
    found, said = uris("data")
    assert found == before
    assert "skipped data/compared/: it is what a run of Winnow wrote, not raw files" in said
    (corpus / "compared" / "comparison.json").write_text('[{"instruction": "a", "output": "b"}]')
    assert "data/compared/comparison.json" in uris("data")[0]


@pytest.mark.parametrize(
    "inner",
    [
        "features/Embed-0123456789abcdef/fedcba9876543210/part-0.parquet",
        "pools/0123456789abcdef/quarantine.jsonl",
        "pools/chains-0123456789abcdef/part-00000.parquet",
        "trained/Finetune-0123456789abcdef/losses.jsonl",
    ],
)
def test_sources_of_a_folder_leave_stores_out(corpus, inner):
    before, _ = uris("data")
    path = corpus / "kept" / inner
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (corpus / "kept" / "lock.json").write_text("{}")
    found, said = uris("data")
    assert found == before
    assert "skipped data/kept/: it is a store of Winnow, not raw files" in said
    path.rename(corpus / "kept" / "other.jsonl")
    assert "data/kept/other.jsonl" in uris("data")[0]
    assert [source.uri for source in sources_of(["data"], print, "data/kept")] == before


def test_sources_of_a_folder_leave_out_what_an_ended_ingest_left_and_say_nothing_of_hidden_folders(corpus):
    before, _ = uris("data")
    (corpus / "pool" / ".tmp-0123456789ab").mkdir(parents=True)
    (corpus / "pool" / ".tmp-0123456789ab" / "rows-000000.parquet").write_text("")
    (corpus / "pool" / "part-00000.parquet").write_text("")
    (corpus / ".winnow" / "pools" / "0123456789abcdef").mkdir(parents=True)
    (corpus / ".winnow" / "pools" / "0123456789abcdef" / "pool.json").write_text("{}")
    found, said = uris("data")
    assert found == before
    assert "skipped data/pool/: it is a pool, not raw files" in said
    assert not any(".winnow" in line for line in said)


def test_splits_cut_lines_by_bytes_and_parquet_by_row_groups(corpus):
    (corpus / "b.jsonl").write_text("{}\n" * 100)
    splits = splits_of(sources_of(["data/b.jsonl", "data/more/c.parquet", "data/a.JSON"], print), 128)
    assert [(split.start, split.stop) for split in splits if split.source == 0] == [(0, 128), (128, 256), (256, 300)]
    groups = [split.row_groups for split in splits if split.source == 1]
    assert [group for some in groups for group in some] == list(range(10))
    assert [(split.form, split.stop) for split in splits if split.source == 2] == [(None, None)]


def test_key_changes_with_content_and_meaning_and_not_with_execution(corpus):
    settings = IngestSettings()
    key = ingest_key(["data"], settings)
    assert key == ingest_key(["data"], IngestSettings(split_bytes=1000, task_cpus=0.5))
    assert key != ingest_key(["data"], IngestSettings(max_turns=5))
    assert key != ingest_key(["data"], IngestSettings(answers="optional"))
    assert key != ingest_key(["data"], IngestSettings(ignore=("x",)))
    assert key != ingest_key(["data"], IngestSettings(columns={"instruction": "a", "response": "b"}))
    os.utime(corpus / "b.jsonl", ns=(1, 1))
    assert key != ingest_key(["data"], settings)


def test_links_are_followed_once_loops_end_and_dangling_ones_are_named(corpus):
    (corpus / "also").symlink_to("more")
    (corpus / "more" / "loop").symlink_to("..")
    (corpus / "gone.jsonl").symlink_to("nowhere.jsonl")
    outside = corpus.parent / "outside"
    outside.mkdir()
    (outside / "z.jsonl").write_text("{}\n")
    (corpus / "out").symlink_to(outside)
    found, said = uris("data")
    assert found == ["data/[x].jsonl", "data/a.JSON", "data/b.jsonl", "data/more/c.parquet", "data/out/z.jsonl"]
    assert "skipped in data, links that lead nowhere: gone.jsonl -> nowhere.jsonl" in said
    with pytest.raises(InputError, match=r"gone\.jsonl"):
        uris("data/gone.jsonl")


@pytest.mark.parametrize("name", ["a::b.jsonl", "what?.jsonl", "lang=de", "100%.jsonl", "中 文.jsonl", "s3:x.jsonl"])
def test_a_file_of_any_name_is_a_path_where_it_exists(corpus, name):
    (corpus / name).write_text('{"instruction": "a", "output": "b"}\n')
    (source,) = sources_of([f"data/{name}"], print)
    assert source.uri == f"data/{name}"
    (split,) = splits_of([source], 1000)
    assert file_at(split.path).read()
