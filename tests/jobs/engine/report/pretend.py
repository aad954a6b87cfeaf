"""Pretend runs: a pool, what was decided about it, and a manifest, without Ray and without a model."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.execute.session import Session
from jobs.engine.pool.column import Column
from jobs.engine.pool.pool import Pool
from jobs.engine.store.store import Store
from operators.base import Operator
from operators.sample import SAMPLE, text_sha

SOURCE, OTHER = "/data/chat/a.jsonl", "/data/code/b|<b>.json"
HOSTILE = (
    "<script>alert(1)</script></script><img src=x onerror=alert(2)>\u202egnp.exe\u202c zero\u200b\u200bwidth & עברית"
)
HOSTILE_TEXTS = (
    "<script>alert(1)</script>",
    "</script></title></pre></details>",
    "{{7*7}}{% raw %}{# none #}",
    "\"double\" 'single' `back` &amp; & \\| \\",
    "| a | b |\n|---|---|\n| [x](javascript:alert(2)) | ![y](z) |\n\n---\n# Heading",
    "````\n~~~\n```",
    "你好，世界。",
    "مرحبا \u202eabc\u202c שלום",
    "\U0001f600\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "line\u2028separator\u2029and\x00null",
)
"""Texts that could end, hide or run something where they are not escaped."""
POEM = "Ода\nв пять строк\nбез рифмы\n\nи ещё\nодна\nстрока\n" * 30


class Length(Operator):
    """An operator that is never loaded here."""


class Vector(Operator):
    """Another one."""


def pool_of(folder, samples, quarantine, duplicates, contents, other) -> Pool:
    """A pool of so many samples, each fourth from the file `other`; contents: what is said in some of them."""
    folder.mkdir()
    rows = []
    for number in range(samples):
        said, answered = (
            (HOSTILE, POEM) if number == 0 else (f"Question {number}?", f"Answer {number}. " * (number % 7))
        )
        if number in contents:
            both = contents[number]
            said, answered = (both, both) if isinstance(both, str) else both
        messages = [{"role": "user", "content": said}, {"role": "assistant", "content": answered}] * (1 + number % 2)
        raw = json.dumps({"instruction": said, "output": answered}).encode()
        source = other if number % 4 == 3 else SOURCE
        shas = {"sha": text_sha(messages), "text_sha": text_sha(messages)}
        rows.append({"id": number, **shas, "source": source, "line": number + 1, "messages": messages, "raw": raw})
    pq.write_table(pa.Table.from_pylist(rows, SAMPLE), folder / "part-0.parquet", row_group_size=16)
    repeated = {"source": [SOURCE] * duplicates, "line": range(900, 900 + duplicates), "id": [0] * duplicates}
    ledger_types = pa.schema([("source", pa.string()), ("line", pa.int64()), ("id", pa.int64())])
    pq.write_table(pa.table(repeated, ledger_types), folder / "duplicates.parquet")
    (folder / "quarantine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in quarantine))
    sources = [
        {"uri": uri, "bytes": 4096, "records": count, "samples": count, "sha256": "ab" * 32, "formats": formats}
        for uri, count, formats in (
            (SOURCE, samples - samples // 4, {"alpaca": 1}),
            (other, samples // 4, {"alpaca": 1, "dolly": 1}),
        )
    ]  # fmt: skip
    facts = {"samples": samples, "records": samples + duplicates + len(quarantine), "duplicates": duplicates,
             "quarantined": len(quarantine), "fingerprint": "cd" * 32, "text_fingerprint": "cd" * 32,
             "sources": sources, "examples": {},
             "parts": [{"file": "part-0.parquet", "first": 0, "rows": samples}]}  # fmt: skip
    (folder / "pool.json").write_text(json.dumps(facts))
    return Pool.open(str(folder), Session(Store(str(folder.parent / "store"))))


def feature_of(pool, failed):
    """A column in which the samples of these ids have an error."""
    feature = pool.session.store.feature(Length(), pool.facts["fingerprint"])
    errors = failed if isinstance(failed, dict) else dict.fromkeys(failed, "too_long: <i>812</i> tokens")
    errors = [errors.get(number) for number in range(pool.samples)]
    values = pa.array([None if error else 1 for error in errors], pa.int64())
    feature.write(np.arange(pool.samples), pa.array([b"0" * 16] * pool.samples), values, errors)
    return feature


def vectors_for(pool, values) -> Column:
    """A stored column with these vectors for the first samples."""
    ids = pool.ids[: len(values)]
    feature = pool.session.store.feature(Vector(), pool.facts["fingerprint"])
    rows = pa.array([row.tolist() for row in np.asarray(values, np.float32)], pa.list_(pa.float32(), len(values[0])))
    feature.write(ids, pa.array([b"0" * 16] * len(ids)), rows, [None] * len(ids))
    return Column(ids, feature)


def grown_from(pool, parents) -> Pool:
    """The pool, of which some samples are new in a round; parents: the id of the parent by the id of the new one."""
    table = {"id": list(parents), "parent": list(parents.values()), "round": [1] * len(parents)}
    pq.write_table(pa.table(table), f"{pool.folder}/lineage.parquet")
    pool.facts["rounds"] = [{"asked": len(parents)}]
    return pool


def manifest_of(pool, counts, recipe):
    """The manifest of a run over the pool."""
    model = {"name": "sentence-transformers/all-MiniLM-L6-v2", "revision": "c9745ed1"}
    return {
        "winnow_manifest": 1,
        "run": {"recipe": recipe, "inputs": ["/data"], "as_published": False,
                "fields": {"budget": "5%", "seed": 7, "length": {"model": model, "prompt": "Rate:\n```\n{text}\n```"}}},
        "counts": {"records": pool.facts["records"], **counts},
        "pool": {"folder": pool.folder, "fingerprint": pool.facts["fingerprint"], "sources": pool.facts["sources"]},
        "verbs": [{"read": ["/data"], "sources": [], "seconds": 0.5},
                  {"map": "length", "operator": "Length", "fingerprint": "ef" * 32,
                   "made_of": [{"model": model, "identity": model}], "samples": 40,
                   "stored": 30, "taken_over": 4, "computed": 6, "failed": 2,
                   "seconds": 1.2},
                  {"reduce": "kmeans", "columns": ["length"], "samples": 38, "seconds": 0.1}],
        "seconds": 2.5, "finished": "2026-01-02T03:04:05+00:00",
        "command": "python -m jobs.curate at_random /data --out out budget=5%", "versions": {"python": "3.11.7"},
    }  # fmt: skip


FAULTY = [
    {
        "source": SOURCE,
        "line": 41,
        "reason": "malformed_json",
        "message": "column 3",
        "raw": "{<script>alert(3)</script>",
    },
    {"source": SOURCE, "line": None, "reason": "invalid_utf8", "message": "byte 0xff", "raw_base64": "//4h"},
]
