"""How many files does the search for duplicates open, and how long does it take, as a corpus grows?

    python -m benchmarks.duplicates [--samples 100000 300000 600000] [--split 1000] [--partition 60000]

Makes the key files of splits of `--split` samples, a fifth of which repeat earlier ones, and finds the duplicates in
partitions of `--partition` hashes, which are read in blocks of a 16th. All are small, so that a million samples have as
many splits and partitions as 70 million have in an ingest. Prints a JSON line per size: the files that are opened for
reading and the CPU seconds, of ours and of the naive form, in which each partition looks into each split. `ratio` is
the naive form's seconds over ours. `identical`: whether both find the same duplicates. The last line has the exponents:
the slopes of the logarithms over that of the number of samples.
"""

import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._run import exponent, options, printed
from jobs.engine.ingest import dedup
from jobs.engine.ingest.dedup import (
    KEY_FILES,
    Placed,
    Placements,
    find_repeats,
    groups_of,
    partitions_of,
    repeats_name,
    sort_keys,
)
from jobs.engine.ingest.parse import keys_name
from jobs.engine.ingest.row_groups import KeyWriter
from jobs.engine.store import runs
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few, merged

SORTED_BYTES = 32
"""The bytes of a key with its position and line."""


class Counted(Folder):
    """A folder that counts the files that are opened for reading."""

    opens = 0

    def reading(self, name: str) -> Any:
        """Opens a file, and counts it."""
        Counted.opens += 1
        return super().reading(name)


def placed(samples: int, split: int, interim: Folder) -> Placements:
    """Writes the keys of all splits."""
    random = np.random.default_rng(0)
    shas = random.bytes(16 * samples)
    of = np.where(random.random(samples) < 0.2, random.integers(0, np.arange(samples) + 1), np.arange(samples))
    splits = []
    for number, first in enumerate(range(0, samples, split)):
        some = of[first : first + split].tolist()
        with interim.writing(keys_name(number)) as file:
            writer = KeyWriter(file)
            writer.add([shas[16 * each : 16 * each + 16] for each in some], range(len(some)))
            writer.close()
        splits.append(Placed(number, f"{number}.jsonl", len(some), first, 0))
    return Placements(tuple(splits))


Found = tuple[np.ndarray, np.ndarray]
"""The positions of the duplicates, and those of the samples that they repeat; both ascend by the former."""


def ours(placements: Placements, bounds: list[tuple[int, int]], interim: Folder) -> Found:
    """The duplicates as ingest finds them."""
    files: list[str] = []
    for number, group in enumerate(groups_of(placements)):
        files += sort_keys(group, number, interim)
    files = few(interim, files, "head", most=KEY_FILES)
    for number, some in enumerate(bounds):
        find_repeats(files, number, some, interim)
    found = few(interim, [repeats_name(number) for number in range(len(bounds))], "position")
    table = pa.concat_tables(merged(interim, found, "position"))
    return table["position"].to_numpy(), table["first"].to_numpy()


def naive(placements: Placements, bounds: list[tuple[int, int]], interim: Folder) -> Found:
    """The same, where each partition looks into each split."""
    found = []
    for low, high in bounds:
        held = []
        for split in placements.splits:
            with interim.reading(keys_name(split.number)) as file:
                head, tail, _ = (column.to_numpy() for column in pq.read_table(file).columns)
            inside = (head >= np.uint64(low)) & (head <= np.uint64(high - 1))
            held.append((head[inside], tail[inside], split.position + np.flatnonzero(inside)))
        head, tail, position = map(np.concatenate, zip(*held, strict=True))
        order = np.lexsort((position, tail, head))
        head, tail, position = head[order], tail[order], position[order]
        new = np.append(True, (np.diff(head) != 0) | (np.diff(tail) != 0))
        found.append(np.stack([position, position[np.flatnonzero(new)][np.cumsum(new) - 1]])[:, ~new])
    together = np.concatenate(found, axis=1)
    position, first = together[:, np.argsort(together[0])]
    return position, first


def measured(samples: int, split: int, partition: int) -> dict[str, Any]:
    """The line of a corpus of so many samples."""
    with tempfile.TemporaryDirectory() as temporary:
        interim = Counted.at(temporary)
        placements = placed(samples, split, interim)
        bounds = partitions_of(samples, partition)
        line: dict[str, Any] = {"benchmark": "duplicates", "samples": samples, "splits": len(placements.splits),
                                "partitions": len(bounds)}  # fmt: skip
        answers = {}
        for name, find in {"": ours, "naive_": naive}.items():
            Counted.opens, began = 0, time.process_time()
            answers[name] = find(placements, bounds, interim)
            line[f"{name}seconds"] = round(time.process_time() - began, 3)
            line[f"{name}opens"] = Counted.opens
    same = all(np.array_equal(one, other) for one, other in zip(answers[""], answers["naive_"], strict=True))
    return {**line, "ratio": round(line["naive_seconds"] / line["seconds"], 2), "identical": same}


def exponents(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The exponent of each figure."""
    sizes = [line["samples"] for line in lines]
    names = ("seconds", "opens", "naive_seconds", "naive_opens")
    return {name: exponent(sizes, (line[name] for line in lines)) for name in names}


def main() -> None:
    parser = options(__doc__, samples=[100_000, 300_000, 600_000])
    parser.add_argument("--split", type=int, default=1000, help="samples per split")
    parser.add_argument("--partition", type=int, default=60_000, help="hashes per partition, and per sorted file")
    given = parser.parse_args()
    dedup.PARTITION_ROWS, runs.BLOCK_BYTES = given.partition, given.partition * SORTED_BYTES // 16
    lines = []
    for samples in given.samples:
        lines.append(measured(samples, given.split, given.partition))
        printed(lines[-1])
    if len(lines) > 1:
        printed({"benchmark": "duplicates", "exponents": exponents(lines)})


if __name__ == "__main__":
    main()
