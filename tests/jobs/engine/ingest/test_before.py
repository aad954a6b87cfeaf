"""What ingest leaves out before a recipe: near duplicates, contaminated samples, and what the mix does not take."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.ingest import IngestSettings, InputError, ingest, ingest_key, settings_of
from jobs.engine.ingest.before.contamination import read_tests
from jobs.engine.ingest.before.mix import Part, lines, mixed, parts_of
from jobs.engine.ingest.before.near import Staying, compared, lots_of, write_bands
from jobs.engine.ingest.before.ngrams import Hashing, units
from jobs.engine.ingest.dedup import Marks, Placed
from jobs.engine.ingest.files.inputs import Source, sources_of
from jobs.engine.ingest.files.splits import splits_of
from jobs.engine.ingest.findings import refuse_unreadable
from jobs.engine.ingest.parse import parse_split
from jobs.engine.outcome import ledger
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError
from operators.kernels.minhash import SHINGLE
from operators.sample import MESSAGES

SETTINGS = IngestSettings(task_cpus=0.5)


def shingled(text):
    return {text[at : at + SHINGLE] for at in range(max(1, len(text) - SHINGLE + 1))}


def similarity(one, other):
    one, other = shingled(one), shingled(other)
    return len(one & other) / len(one | other)


def naive(texts, threshold):
    """Each text that is like an earlier one that stays, with the first such one, by comparing all pairs."""
    stays, found = [], {}
    for number, text in enumerate(texts):
        like = next((other for other in stays if similarity(texts[other], text) >= threshold), None)
        if like is None:
            stays.append(number)
        else:
            found[number] = like
    return found


LANGUAGES = {
    "zh": "请用简单的话解释光合作用是怎样把阳光变成植物需要的能量的，并且举出三个日常生活里的例子说明它为什么重要",
    "ar": "اشرح بكلمات بسيطة كيف تحول النباتات ضوء الشمس إلى طاقة ولماذا يعد ذلك مهما للحياة على الأرض كلها",
    "en": "Explain in simple words how plants turn the light of the sun into energy, and why that matters to us",
    "🙂": "🙂🙃😉😊😇🥰😍🤩😘😗😚😙🥲😋😛😜🤪😝🤑🤗🤭🤫🤔🤐🤨😐😑😶😏😒🙄😬🤥😌😔😪🤤😴😷🤒🤕🤢🤮",
}


def texts_in_languages():
    """Per language: a text, one with another end, one with another beginning, and others of the same characters."""
    random = np.random.default_rng(5)
    texts = []
    for text in LANGUAGES.values():
        texts += [text, text[:-2] + "…", "“" + text[1:], text]
        texts += ["".join(random.permutation(list(text))) for _ in range(3)]
    return texts


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9, 1.0])
def test_near_duplicates_are_those_of_all_pairs_in_every_language(threshold):
    texts = texts_in_languages()
    found = list(Staying(threshold).repeats(np.arange(len(texts)), texts))
    assert {number: first for number, first, _ in found} == naive(texts, threshold)
    assert len(found) >= len(LANGUAGES)
    for number, first, jaccard in found:
        assert jaccard == similarity(texts[first], texts[number])


def test_similarity_at_the_threshold_is_enough_and_a_chain_does_not_lead_away_from_its_first():
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    first, more = letters[:22], letters[:24]  # 18 and 20 shingles
    assert similarity(first, more) == 0.9
    further = letters[:26]
    for threshold, expected in ((0.9, [1]), (0.9001, [2]), (0.8, [1, 2])):
        found = [number for number, *_ in Staying(threshold).repeats(np.arange(3), [first, more, further])]
        assert found == expected, threshold
    assert similarity(more, further) > 0.9 > similarity(first, further)
    # One text, and texts, shorter than a shingle.
    assert list(Staying(0.9).repeats(np.arange(1), ["答"])) == []
    assert list(Staying(0.9).repeats(np.arange(3), ["答", "问", "答"])) == [(2, 0, 1.0)]


def test_lots_keep_groups_whole(monkeypatch):
    monkeypatch.setattr("jobs.engine.ingest.before.near.LOT_SAMPLES", 3)
    pairs = np.array([(1, 4), (4, 9), (2, 3), (5, 6), (7, 8)])
    lots = [lot.tolist() for lot in lots_of(pairs[:, 0], pairs[:, 1])]
    assert sorted(number for lot in lots for number in lot) == list(range(1, 10))
    assert len(lots) > 1
    for one, other in pairs:
        assert any({one, other} <= set(lot) for lot in lots)
    assert list(lots_of(*np.empty((2, 0), np.int64))) == []


def test_shared_system_messages_do_not_count_and_media_are_not_compared():
    def row(*said):
        return [{"role": role, "content": content} for role, content in said]

    plain = row(("system", "x" * 500), ("user", "问"), ("assistant", "答"))
    rows = [plain, row(("user", "<image> 这是什么")), row(), plain]
    table = pa.table({"messages": pa.array(rows, MESSAGES), "media": [None, None, None, True]})
    assert compared(table) == ["问\n答", "", "", ""]


@pytest.mark.parametrize(
    "media", [{"image": {"bytes": "eHg=", "path": None}}, {"images": ["a.png"]}, {"audio": "a.wav"}]
)
def test_samples_that_differ_in_what_they_show_are_no_near_duplicates(media, tmp_path):
    interim = Folder(str(tmp_path / "interim"))
    interim.make()
    shown = [record("What colour is the car?", "The car is red.", **more) for more in (media, {})]
    (tmp_path / "a.jsonl").write_text("\n".join(shown) + "\n")
    (split,) = splits_of(sources_of([str(tmp_path / "a.jsonl")], print), 1 << 20)
    parsed = parse_split(split, 0, SETTINGS, interim)
    assert parsed.media == {next(iter(media)).removesuffix("s"): 1}
    placed = Placed(0, split.uri, parsed.samples, 0, 0)
    name = write_bands(placed, Marks.of(iter(()), 2), 0.9, interim)
    assert set(pq.read_table(tmp_path / "interim" / name)["position"].to_pylist()) == {1}


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_the_texts_of_a_test_set_that_stand_in_a_text_are_found(write, tmp_path):
    talk = [{"role": "user", "content": f"a\n{LANGUAGES['zh']}"}, {"role": "assistant", "content": "答"}]
    (tmp_path / "test.jsonl").write_text(json.dumps({"messages": write(talk)}) + "\n")
    tests, counted = read_tests(sources_of([str(tmp_path / "test.jsonl")], print), IngestSettings())
    assert counted == (1, 0)
    assert np.isin(Hashing(13).grams(LANGUAGES["zh"]).hashes, tests.hashes).all()


def test_units_are_words_or_characters_by_script():
    assert units("The CAT’s 12 dogs—ＧＰＴ naïve") == ["the", "cat", "s", "12", "dogs", "gpt", "naïve"]
    assert units("我喜欢GPT，你呢？") == ["我", "喜", "欢", "gpt", "你", "呢"]
    assert units("สวัสดี मैं हूँ") == ["ส", "วั", "ส", "ดี", "मैं", "हूँ"]
    assert units("كتاب جديد 🙂🙂 하늘이") == ["كتاب", "جديد", "🙂", "🙂", "하늘이"]
    assert units("… — !") == []
    hashing = Hashing(3)
    one, other = (hashing.grams(text).hashes for text in ("一二三四五", "零一二三"))
    assert len(one) == 3
    assert np.intersect1d(one, other).tolist() == [one[0]]
    assert len(hashing.grams("一二").hashes) == 0
    assert not np.isin(hashing.grams("三二一").hashes, one).any()


def source(uri):
    return Source(uri, uri, 1, "")


def test_parts_of_the_mix_name_files_folders_and_patterns():
    sources = [source(uri) for uri in ("d/a.jsonl", "d/lang=de/b.jsonl", "c.json.gz")]
    for name, meant in {"d/a.jsonl": {0}, "a": {0}, "d": {0, 1}, "d/": {0, 1}, "c": {2}, "*.jsonl": {0, 1}}.items():
        (part,) = parts_of({name: 0.5}, [*sources])
        assert part.sources == meant, name
    for mix, message in (
        ({"e": 0.5}, "--mix e: no input has this name; the inputs are d/a.jsonl, d/lang=de/b.jsonl, c.json.gz. Fields"),
        ({"d": 0.5, "a": 10}, "--mix a and d both mean d/a.jsonl"),
        ({"d": 0.5, "c": 0.4}, "the shares of all sources add up to 0.9; they have to add up to 1"),
        ({"a": 0.6, "c": 0.4}, "the shares add up to 1, which leaves nothing for the other sources"),
    ):
        with pytest.raises(InputError, match=message):
            parts_of(mix, sources)


def kept(amounts, samples, others=0):
    parts = [Part(str(number), amount, frozenset({number})) for number, amount in enumerate(amounts)]
    found = mixed(parts, samples, others)
    return [each.kept for each in found], lines(found, others)


def test_mix_meets_shares_and_says_where_it_cannot():
    assert kept([0.3, 0.7], [1000, 1000])[0] == [428, 1000]
    assert kept([0.29, 0.71], [100, 71])[0] == [29, 71]
    assert kept([0.5], [1000], others=300)[0] == [300]
    assert kept([50, 5000], [100, 100], others=3)[0] == [50, 100]
    assert kept([0.25, 60], [100, 100])[0] == [20, 60]
    assert kept([0.5], [0], others=0)[0] == [0]
    amounts, said = kept([0.5, 0.25], [10, 1000], others=90)
    assert amounts == [10, 33]
    assert said[0] == (
        "mix 0=0.5: 10 of 10 samples, 0.0752 of the pool; its share could not be met: it has 10 samples, and needs 66"
    )
    assert said[1] == "mix 1=0.25: 33 of 1,000 samples, 0.248 of the pool"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"near_duplicates": 0.3}, "near_duplicates"),
        ({"ngram": 0}, "ngram"),
        ({"mix": {"a": 0.7, "b": 0.6}}, "the shares add up to 1.3, which is more than 1"),
        ({"mix": {"a": 2.5}}, "a=2.5: a share is between 0 and 1, and a number of samples is whole"),
        ({"decontaminate": ["absent.jsonl"]}, "--decontaminate absent.jsonl: there is no such file or folder"),
        ({"decontaminate": ["bad.jsonl"]}, "--decontaminate bad.jsonl:2: malformed_json: "),
        ({"decontaminate": ["empty.jsonl"]}, "--decontaminate empty.jsonl: there is no record in this file"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_before_any_work(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"question": "q"}\n{"question"\n')
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UsageError, match=message):
        settings_of(given)


def test_key_follows_the_test_sets_and_plain_settings_say_nothing_of_what_is_left_out(tmp_path):
    data, test = tmp_path / "a.jsonl", tmp_path / "test.jsonl"
    data.write_text('{"instruction": "a", "output": "b"}\n')
    test.write_text('{"question": "q"}\n')
    settings = IngestSettings(decontaminate=(str(test),), near_duplicates=0.9, mix={"a": 10})
    before = ingest_key([str(data)], settings)
    test.write_text('{"question": "another"}\n')
    assert before != ingest_key([str(data)], settings)
    assert settings.whole() == IngestSettings()
    assert not {"near_duplicates", "decontaminate", "ngram", "mix"} & IngestSettings().semantics().keys()
    assert settings_of(settings.semantics()) == settings


def record(instruction, output, **more):
    return json.dumps({"instruction": instruction, "output": output, **more}, ensure_ascii=False)


def made_corpus(folder):
    """Two files: near duplicates and repeats of them across files, contaminated records and repeats of those."""
    numbers = [f"第{n}题：{'甲乙丙丁戊己庚辛壬癸'[n % 10] * 3}{n * 7919}" for n in range(60)]
    a = [record(text, f"答案是{n * 104729}") for n, text in enumerate(numbers)]
    a[10] = record(LANGUAGES["ar"], LANGUAGES["en"])
    a[12] = record(LANGUAGES["ar"], LANGUAGES["en"] + "!")  # nearly 10
    a[20] = record("翻译", "前面 有 其他 内容。光合作用是怎样把阳光变成植物需要的能量 的")  # contaminated
    a[33] = "not json"
    b = [record(f"Question {n} of {n * 15485863}", f"Reply {n * 32452843} {n}") for n in range(40)]
    b[3] = record(LANGUAGES["ar"], LANGUAGES["en"] + "!", id=5)  # repeats 12, which nearly repeats 10
    b[5] = record("翻译", "前面 有 其他 内容。光合作用是怎样把阳光变成植物需要的能量 的", id=6)  # repeats 20
    b[7] = a[1]
    (folder / "a.jsonl").write_text("\n".join(a) + "\n")
    (folder / "b.jsonl").write_text("\n".join(b) + "\n")
    (folder / "test.jsonl").write_text(
        '{"question": "短"}\n{"question": "它怎样把阳光变成植物需要的能量？", "id": "前面有其他内容光合作用是怎样"}\n'
    )


def pool_of(folder):
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    return pa.concat_tables(tables)


def test_what_is_left_out_adds_up_has_reasons_and_does_not_depend_on_splits(ray_session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_corpus(tmp_path)
    settings = replace(
        SETTINGS, near_duplicates=0.9, decontaminate=("test.jsonl",), ngram=10, mix={"b": 0.25}, mix_seed=3
    )
    pools = {}
    for name, changed in {
        "whole": settings,
        "splits": replace(settings, split_bytes=700),
        "seed": replace(settings, mix_seed=4),
    }.items():
        said = []
        found = ingest(["a.jsonl", "b.jsonl"], str(tmp_path / name), settings=changed, say=said.append)
        lines = [json.loads(line) for line in (tmp_path / name / "quarantine.jsonl").read_text().splitlines()]
        pools[name] = (
            found,
            pool_of(tmp_path / name),
            pq.read_table(tmp_path / name / "duplicates.parquet"),
            lines,
            said,
        )

    found, table, duplicates, lines, said = pools["whole"]
    assert found["records"] == 100 == found["samples"] + found["duplicates"] + found["quarantined"]
    assert table["id"].to_pylist() == list(range(found["samples"]))
    rows = list(zip(table["source"].to_pylist(), table["line"].to_pylist(), strict=True))
    assert rows == sorted(rows)
    a = sum(name == "a.jsonl" for name, _ in rows)
    assert a == 57
    assert len(rows) - a == 19  # a quarter of 76
    ids = {line: number for number, (name, line) in enumerate(rows) if name == "a.jsonl"}
    near = similarity(*(f"{LANGUAGES['ar']}\n{LANGUAGES['en']}{end}" for end in ("", "!")))
    assert duplicates.to_pylist() == [
        {"source": "a.jsonl", "line": 13, "id": ids[11], "jaccard": near},
        {"source": "b.jsonl", "line": 4, "id": ids[11], "jaccard": near},
        {"source": "b.jsonl", "line": 8, "id": ids[2], "jaccard": None},
    ]
    reasons = Counter(line["reason"] for line in lines)
    assert reasons == found["reasons"] == {"contaminated": 2, "over_share": 18, "malformed_json": 1}
    contaminated = [line for line in lines if line["reason"] == "contaminated"]
    assert [(line["source"], line["line"]) for line in contaminated] == [("a.jsonl", 21), ("b.jsonl", 6)]
    assert json.loads(contaminated[1]["raw"])["id"] == 6
    for line in contaminated:
        assert line["message"] == "shares 10 words or characters with test.jsonl:2: '怎 样 把 阳 光 变 成 植 物 需'"
    assert [line["line"] for line in lines if line["source"] == "a.jsonl"] == [21, 34]
    over = next(line for line in lines if line["reason"] == "over_share")
    assert over["message"] == "--mix b=0.25 keeps 19 of 37 samples, drawn at random"
    assert "mix b=0.25: 19 of 37 samples, 0.25 of the pool" in said
    assert any(line.startswith("1 of 2 test records have no text of 10 words") for line in said)
    schema, pool = ledger._schema({}), Folder(str(tmp_path / "whole"))
    rows = next(ledger._duplicates(pool, 0, schema)).to_pylist()
    assert {row["state"] for row in rows} == {"duplicate"}
    assert [row["reason"] for row in rows] == [
        f"nearly repeats sample {ids[11]} (Jaccard {near:.2f})",
        f"nearly repeats sample {ids[11]} (Jaccard {near:.2f})",
        f"repeats sample {ids[2]}",
    ]
    (tally,) = ledger._write(pool, "ledger", schema, [(ledger._duplicates, (pool, 0))])
    assert tally == {("duplicate", ""): 1, ("duplicate", "nearly"): 2}
    refuse_unreadable(found, str(tmp_path / "whole"), 0.02)  # one record of a hundred cannot be read

    for position in (1, 2):
        assert pools["splits"][position].equals(pools["whole"][position])
    assert pools["splits"][3] == lines
    assert pools["splits"][0]["fingerprint"] == found["fingerprint"]
    assert pools["seed"][0]["samples"] == found["samples"]
    assert pools["seed"][0]["fingerprint"] != found["fingerprint"]
