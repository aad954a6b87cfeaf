"""The mix: how many samples of each source stay, as a number or as a share of the pool."""

import fnmatch
import math
import posixpath
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.before.rows import ASIDE
from jobs.engine.ingest.dedup import Marks, Placed
from jobs.engine.ingest.faults import InputError
from jobs.engine.ingest.files.inputs import ARRAY_MARK, Source
from jobs.engine.ingest.parse import keys_name
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import write_run

OVER_SHARE = "over_share"
LOW = np.uint64(0xFFFFFFFF)


class Part(NamedTuple):
    """What the mix asks of some sources."""

    name: str
    amount: float
    """A share of the pool below 1; from 1 on, the most samples."""

    sources: frozenset[int]
    """The indices of the sources."""

    @property
    def asked(self) -> str:
        """The part as the command line has it."""
        return f"{self.name}={self.amount:.10g}"


class Mixed(NamedTuple):
    """How many samples of a part of the mix stay."""

    part: Part
    samples: int
    kept: int

    def reason(self) -> str:
        """Why the others do not."""
        return f"--mix {self.part.asked} keeps {self.kept:,} of {self.samples:,} samples, drawn at random"


def parts_of(mix: Mapping[str, float], sources: Sequence[Source]) -> list[Part]:
    """Returns what the mix asks of which sources.

    InputError for a name that no source has, for a source that two of the names mean, and for shares that do not leave
    the other sources what they have, or that leave something where there is no other source.
    """
    parts: list[Part] = []
    for name, amount in mix.items():
        meant = frozenset(number for number, source in enumerate(sources) if _means(name, source))
        if not meant:
            some = ", ".join(source.uri for source in sources[:5]) + (", ..." if len(sources) > 5 else "")
            raise InputError(f"--mix {name}: no input has this name; the inputs are {some}. Fields go before --mix")
        for other in parts:
            if both := meant & other.sources:
                uri = sources[min(both)].uri
                raise InputError(f"--mix {name} and {other.name} both mean {uri}; name each source once")
        parts.append(Part(name, amount, meant))
    shares = sum((_exactly(part.amount) for part in parts if part.amount < 1), Fraction(0))
    shared = {number for part in parts if part.amount < 1 for number in part.sources}
    if shares and len(shared) < len(sources) and shares >= 1:
        raise InputError("--mix: the shares add up to 1, which leaves nothing for the other sources; lower one of them")
    if shares and len(shared) == len(sources) and shares != 1:
        raise InputError(f"--mix: the shares of all sources add up to {float(shares):g}; they have to add up to 1")
    return parts


def _means(name: str, source: Source) -> bool:
    """Whether a name is that of a source: its path, a folder above it, a pattern, or its file name with or without
    what follows the first dot. An array of a file also has the names of the file."""
    uri = source.uri
    whole = uri.removesuffix(f"{ARRAY_MARK}{source.array}")
    file = posixpath.basename(whole)
    return (
        name in (uri, whole, file, file.split(".")[0])
        or uri.startswith(name.rstrip("/") + "/")
        or fnmatch.fnmatchcase(uri, name)
    )


def _exactly(share: float) -> Fraction:
    """The share as it was written: 0.1 is a tenth."""
    return Fraction(repr(share))


def mixed(parts: Sequence[Part], samples: Sequence[int], others: int) -> list[Mixed]:
    """Returns how many samples of each part stay.

    samples: those of each part. others: the number of samples of sources that are in no part, all of which stay. A part
    with a number keeps as many or what it has. A part with a share that has too few samples keeps them all, and the
    shares of the rest are met. Where all sources have shares, as many stay as allow each its share.
    """
    capped = {place: min(samples[place], int(part.amount)) for place, part in enumerate(parts) if part.amount >= 1}
    open_ = {place: _exactly(part.amount) for place, part in enumerate(parts) if part.amount < 1}
    rest, kept = others + sum(capped.values()), dict(capped)
    if open_ and not rest:
        whole = sum(open_.values())
        total = min(samples[place] * whole / share for place, share in open_.items())
        kept |= {place: math.floor(total * share / whole) for place, share in open_.items()}
        open_ = {}
    while open_:
        total = rest / (1 - sum(open_.values()))
        few = [place for place, share in open_.items() if samples[place] < math.floor(total * share)]
        if not few:
            kept |= {place: math.floor(total * share) for place, share in open_.items()}
            break
        for place in few:
            kept[place] = samples[place]
            rest += samples[place]
            del open_[place]
    return [Mixed(part, samples[place], kept[place]) for place, part in enumerate(parts)]


def lines(found: Sequence[Mixed], others: int) -> list[str]:
    """Returns what the mix came to, a line per part; it says where a share could not be met."""
    total = sum(each.kept for each in found) + others
    said = []
    for each in found:
        share = each.kept / max(total, 1)
        line = f"mix {each.part.asked}: {each.kept:,} of {each.samples:,} samples, {share:.3g} of the pool"
        if each.part.amount < 1 and total and each.kept == each.samples and each.kept + 1 < each.part.amount * total:
            line += f"; its share could not be met: it has {each.samples:,} samples, and needs "
            line += f"{math.floor(_exactly(each.part.amount) * total):,}"
        said.append(line)
    return said


def over_share_name(part: int) -> str:
    """The name of the interim file with the samples of a part that do not stay."""
    return f"over-share-{part:06d}.parquet"


def write_over_share(
    found: Mixed, part: int, splits: Sequence[Placed], seed: int, marks: Marks, interim: Folder
) -> str:
    """Writes the samples of a part of the mix that do not stay. Returns the name of the file.

    Which ones stay follows from the records and the seed, and not from their order.
    """
    orders, places = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for split in splits:
        with interim.reading(keys_name(split.number)) as file:
            table = pq.read_table(file, columns=["head", "tail"])
        free = ~marks.within(split.position, split.position + split.samples)
        head, tail = (table[name].to_numpy()[free] for name in ("head", "tail"))
        orders.append(_drawn(head, tail, seed))
        places.append(np.flatnonzero(free) + split.position)
    order, positions = np.concatenate(orders), np.concatenate(places)
    left = np.sort(positions[np.lexsort((positions, order))[found.kept :]])
    columns = [pa.array(left), pa.repeat(OVER_SHARE, len(left)), pa.repeat(found.reason(), len(left))]
    table = pa.Table.from_arrays(
        [column.cast(each.type) for column, each in zip(columns, ASIDE, strict=True)], schema=ASIDE
    )
    write_run(interim, over_share_name(part), [table], ASIDE, "position")
    return over_share_name(part)


def _drawn(head: np.ndarray, tail: np.ndarray, seed: int) -> np.ndarray:
    """A number for each record, by which it is drawn: the halves of its hash, stirred with the seed."""
    odd = np.random.PCG64(seed).random_raw(2) | np.uint64(1)
    drawn = head * odd[0] + tail * odd[1]
    drawn = (drawn ^ (drawn >> np.uint64(32))) * odd[0]
    return drawn ^ (drawn >> np.uint64(29))
