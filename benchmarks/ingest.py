"""How fast does ingest read records, beside the reader of the datasets library on the same file?

    python -m benchmarks.ingest [--megabytes 50] [--rounds 3]

Makes two JSON-lines files, of Alpaca records and of OpenAI conversations, a third of them in Chinese. Our side reads
the lines, checks the records, and makes messages and hashes of them. The rival is `datasets.load_dataset("json")`,
without its cache, or, where datasets is not installed, pyarrow.json and then json.loads; neither checks, normalises or
hashes. Both read in this process, in turns. Prints one JSON line: for each file the records per CPU second, which is
per core, of ours and of the rival, as medians; `ratio`: ours over the rival's.
"""

import importlib.util
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._run import cpu_seconds, options, printed
from jobs.engine.ingest import IngestSettings
from jobs.engine.ingest.files.splits import Split
from jobs.engine.ingest.files.streams import Range
from jobs.engine.ingest.parse import reader_of
from jobs.engine.ingest.records.records import samples_of

LATIN = ["the", "of", "light", "and", "water", "energy", "because", "number", "describe", "plants"]
WORDS = [*LATIN, "植物", "阳光", "能量", "重要", "说明"]


def texts(seed: int) -> Iterator[str]:
    """Texts of 5 to 100 words."""
    random = np.random.default_rng(seed)
    while True:
        yield " ".join(WORDS[place] for place in random.integers(0, len(WORDS), int(random.integers(5, 100))))


def alpaca(said: Iterator[str]) -> dict[str, Any]:
    """An Alpaca record."""
    return {"instruction": next(said), "input": "", "output": next(said)}


def openai(said: Iterator[str]) -> dict[str, Any]:
    """A conversation of two turns."""
    roles = ("system", "user", "assistant", "user", "assistant")
    return {"messages": [{"role": role, "content": next(said)} for role in roles]}


def made(path: Path, record: Callable[[Iterator[str]], dict[str, Any]], size: int) -> int:
    """Writes a file of about this number of bytes. Returns the number of its records."""
    said, records = texts(0), 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            for _ in range(1000):
                file.write(json.dumps(record(said), ensure_ascii=False) + "\n")
            records += 1000
    return records


def ours(path: Path) -> int:
    """The number of samples that ingest makes of the file."""
    settings = IngestSettings()
    with path.open("rb") as file:
        reader = reader_of(Split(0, str(path), str(path)), Range(file), settings)
        return sum(len(samples_of(piece.raw, settings)) for piece in reader)


def with_datasets(path: Path) -> int:
    """The number of rows that datasets reads."""
    import datasets  # type: ignore[reportMissingImports] - installed or not

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        return len(loaded)


def with_arrow(path: Path) -> int:
    """The number of rows that pyarrow and json read, one after the other."""
    from pyarrow import json as arrow_json

    arrow_json.read_json(path, arrow_json.ReadOptions(use_threads=False, block_size=1 << 24))
    with path.open("rb") as file:
        return sum(json.loads(line) is not None for line in file)


def measured(path: Path, records: int, rounds: int, rival: Callable[[Path], int]) -> dict[str, Any]:
    """The figures of one file."""
    spent: dict[str, list[float]] = {"ours": [], "rival": []}
    for _ in range(rounds):
        for name, read in (("ours", ours), ("rival", rival)):
            seconds, found = cpu_seconds(partial(read, path))
            if found != records:
                raise RuntimeError(f"{name} read another number of records than {records}")
            spent[name].append(seconds)
    speed = {name: records / statistics.median(seconds) for name, seconds in spent.items()}
    speeds = {"records_per_second": round(speed["ours"]), "rival_records_per_second": round(speed["rival"])}
    return {"records": records, **speeds, "ratio": round(speed["ours"] / speed["rival"], 3)}


def main() -> None:
    given = options(__doc__, megabytes=50.0, rounds=3).parse_args()
    installed = importlib.util.find_spec("datasets") is not None
    rival = "datasets.load_dataset" if installed else "pyarrow.json and json.loads"
    line: dict[str, Any] = {"benchmark": "ingest", "megabytes": given.megabytes, "rival": rival}
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.jsonl")
        made(small, alpaca, 1)
        measured(small, 1000, 1, with_datasets if installed else with_arrow)  # loads the libraries
        for name, record in (("alpaca", alpaca), ("openai", openai)):
            path = Path(folder, f"{name}.jsonl")
            records = made(path, record, int(given.megabytes * 1e6))
            line[name] = measured(path, records, given.rounds, with_datasets if installed else with_arrow)
    printed(line)


if __name__ == "__main__":
    main()
