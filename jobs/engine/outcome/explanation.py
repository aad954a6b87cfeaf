"""Why one sample was kept or dropped: its row in the ledger, its text, and the nearest kept sample."""

from typing import Any

import faiss
import numpy as np
import pyarrow.compute as pc
from pyarrow.dataset import Dataset

from jobs.engine.execute.session import Session
from jobs.engine.ingest.files.inputs import ARRAY_MARK
from jobs.engine.outcome.ledger import DROPPED, FILE, KEPT, LEDGER, ledger_in
from jobs.engine.outcome.manifest import finished_manifest
from jobs.engine.pool.pool import Pool
from jobs.engine.record.entries import columns
from jobs.engine.samples.reading import read_samples
from jobs.engine.store.feature import VALUE, Feature
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import UsageError, WinnowError
from jobs.engine.terminal.screen import say
from operators.kernels.neighbours import Shard, nearest
from operators.sample import instruction, response

SHOWN = 400
LISTED = 5
LARGEST = 2**63 - 1
SHOWN_BEFORE = frozenset(name for name, _ in LEDGER)
"""The columns that every ledger has; the other columns are details of the recipe."""


def ledger_rows(folder: Folder, which: str) -> list[dict[str, Any]]:
    """The rows of selection.parquet for a sample's id or for source:line; UsageError where there are none."""
    rows = ledger_in(folder)
    source, colon, line = which.rpartition(":")
    if which.isdecimal() and int(which) <= LARGEST:
        found = rows.to_table(filter=pc.field("id") == int(which)).to_pylist()
    elif colon and line.isdecimal() and int(line) <= LARGEST:
        matches = (pc.field("source") == source) & (pc.field("line") == int(line))
        found = rows.to_table(filter=matches).to_pylist()
    else:
        raise UsageError(f"{which!r} is neither a sample's id nor source:line")
    if not found:
        near = _similar(rows, source, int(line)) if colon else []
        advice = f"did you mean {', '.join(near)}?" if near else "name a sample by its id or by source:line"
        raise UsageError(f"{folder}/{FILE} has no {which}; {advice}")
    return sorted(found, key=lambda row: row["state"] == "duplicate")


def _similar(rows: Dataset, source: str, line: int) -> list[str]:
    """The first few places with this line in a source whose path ends like the one that was given, or has its name.

    An array of a file has the path of the file too.
    """
    sources = rows.to_table(["source"], filter=pc.field("line") == line)["source"].unique().to_pylist()
    for ending in (f"/{source.lstrip('./')}", f"/{source.rpartition('/')[2]}"):
        if found := [each for each in sources if _ends(each, ending) or _ends(each.rpartition(ARRAY_MARK)[0], ending)]:
            return [f"{each}:{line}" for each in sorted(found)[:LISTED]]
    return []


def _ends(path: str, ending: str) -> bool:
    return f"/{path}".endswith(ending)


def nearest_kept(feature: Feature, sample: int, kept: np.ndarray) -> tuple[int, float]:
    """The kept sample with the highest cosine similarity to a sample, and that similarity.

    kept: ids, best first. Among equally similar samples the best one is returned. Only one part of the vectors is in
    memory at a time.
    """
    wanted = _unit(feature.values(np.array([sample])))

    def ask(method: str, *arguments: Any) -> list[Any]:
        answers, read = [], 0
        for ranks, vectors in feature.blocks(kept):
            answers.append(getattr(Shard(_unit(vectors), ids=ranks), method)(*arguments))
            read += len(ranks)
        if read < len(kept):
            raise KeyError(f"{feature.folder} has no value for {len(kept) - read:,} of the kept samples")
        return answers

    # Another run may merge parts at the same time: `explain` only reads, and takes no lock.
    rank = int(feature.undisturbed(lambda: nearest(ask, wanted, 1)).ids[0, 0])
    return int(kept[rank]), float((wanted @ _unit(feature.values(kept[rank : rank + 1])).T)[0, 0])


def _unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors as float32, scaled to length 1; vectors of length 0 stay as they are."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    faiss.normalize_L2(vectors)
    return vectors


def explain(folder: Folder, which: str) -> None:
    """Prints what was decided about a sample and why, its text, and for a dropped sample the nearest kept one."""
    manifest = finished_manifest(folder)
    if not folder.exists(FILE):
        raise UsageError(f"{folder} holds no selection: `winnow curate` writes one, with its {FILE}")
    row, *repeats = ledger_rows(folder, which)
    say(f"{row['source']}:{row['line']}  {row['state']} by {manifest['run']['recipe']}")
    say(f"  reason    {row['reason']}")
    for name in ("id", "rank", "score", *(name for name in row if name not in SHOWN_BEFORE)):
        if row.get(name) is not None:
            value = f"{row[name]:.4f}" if isinstance(row[name], float) else row[name]
            say(f"  {name:<9} {value}" + (f" of {manifest['counts'][KEPT]:,}" if name == "rank" else ""))
    for repeat in repeats:
        say(f"  repeated  at {repeat['source']}:{repeat['line']}")
    if row["id"] is None:
        return
    pool = Pool.open(manifest.get("selected_from", manifest["pool"])["folder"], Session(Store(manifest["store"])))
    _show_text(pool, row["id"])
    column = manifest.get("vector")
    if row["state"] == DROPPED and column:
        _show_nearest(folder, pool, Feature(columns(manifest["verbs"], pool.folder)[column]["feature"]), row["id"])


def _show_nearest(folder: Folder, pool: Pool, feature: Feature, sample: int) -> None:
    kept = ledger_in(folder).to_table(["id", "rank"], filter=pc.field("state") == KEPT)
    ids = kept.sort_by("rank")["id"].to_numpy()
    states = feature.states(pool.samples)
    ids = ids[states[ids] == VALUE]
    if not len(ids) or states[sample] != VALUE:
        return
    near, similarity = nearest_kept(feature, sample, ids)
    say(f"nearest kept sample: {near}, similarity {similarity:.4f}")
    _show_text(pool, near)


def _show_text(pool: Pool, sample: int) -> None:
    fs, root = Folder(pool.folder).opened()
    if not fs.exists(root):
        raise WinnowError(f"the pool in {pool.folder} no longer exists")
    messages = next(read_samples(pool.parts, np.array([sample]), ["messages"]))["messages"].to_pylist()[0]
    for title, words in (("asked", instruction(messages)), ("answered", response(messages))):
        short = " ".join(words.split())
        say(f"  {title:<9} {short[:SHOWN]}{' ...' if len(short) > SHOWN else ''}")
