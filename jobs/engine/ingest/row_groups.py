"""The parquet files of an ingest: samples in small row groups, and columns read by a range of values."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.records.contents import NO_MEDIA
from jobs.engine.ingest.records.hashes import Hashes
from operators.sample import MESSAGES, MORE, SAMPLE, Message

GROUP_ROWS = 4096
GROUP_BYTES = 64 << 20
KEYS_AT_ONCE = 65_536

INTERIM = pa.schema(
    [
        *(SAMPLE.field(name) for name in ("sha", "text_sha", "line", "messages", "raw", "rejected", "label")),
        ("media", pa.bool_()),  # true for a sample with an image, an audio or a video; else null
    ]
)
KEYS = pa.schema([("head", pa.uint64()), ("tail", pa.uint64()), ("line", pa.int64())])

# A dictionary of texts that never repeat costs time and saves no space.
REPEATING = ["source", "messages.list.element.role", "rejected.list.element.role"]


def sample_writer(file: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    """Returns a writer of samples, with zstd and with statistics of the number columns only."""
    counted = [name for name in ("id", "line") if name in schema.names]
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=REPEATING,  # pyright: ignore[reportArgumentType]
        write_statistics=counted,  # pyright: ignore[reportArgumentType]
    )


class InterimWriter:
    """Collects samples and writes them one row group at a time, and their keys to another file."""

    def __init__(self, rows: BinaryIO, keys: BinaryIO):
        self.rows = sample_writer(rows, INTERIM)
        self.keys = KeyWriter(keys)
        self.count = 0
        self._empty()

    def _empty(self) -> None:
        self.hashes: list[Hashes] = []
        self.lines: list[int | None] = []
        self.roles: list[str] = []
        self.contents: list[str] = []
        self.more: dict[str, dict[int, str]] = {name: {} for name in MORE}
        """The other fields of messages, by the message's place; most messages have none."""
        self.ends = [0]
        self.raws: list[bytes] = []
        self.rejected: dict[int, Sequence[Message]] = {}
        self.labels: dict[int, bool] = {}
        self.media: dict[int, bool] = {}
        """What few samples have, by the sample's place."""
        self.bytes = 0

    def add(
        self,
        line: int | None,
        messages: Sequence[Message],
        hashes: Hashes,
        raw: bytes,
        rejected: Sequence[Message] | None = None,
        label: bool | None = None,
        media: Mapping[str, int] = NO_MEDIA,
    ) -> None:
        """Adds one sample. media: the number of its images, audios and videos."""
        if media:
            self.media[len(self.lines)] = True
        if rejected is not None:
            self.rejected[len(self.lines)] = rejected
        if label is not None:
            self.labels[len(self.lines)] = label
        self.hashes.append(hashes)
        self.lines.append(line)
        for message in messages:
            if len(message) > 2:
                for name in message.keys() & MORE:
                    self.more[name][len(self.roles)] = message[name]
            self.roles.append(message["role"])
            self.contents.append(message["content"])
        self.ends.append(len(self.roles))
        self.raws.append(raw)
        self.bytes += len(raw)
        if len(self.raws) == GROUP_ROWS or self.bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if not self.raws:
            return
        fields = list(MESSAGES.value_type)
        texts = [pa.array(self.roles, pa.string()), pa.array(self.contents, pa.string())]
        more = [_sparse(self.more[name], len(self.roles), pa.string()) for name in MORE]
        items = pa.StructArray.from_arrays([*texts, *more], fields=fields)
        messages = pa.ListArray.from_arrays(pa.array(self.ends, pa.int32()), items, type=MESSAGES)
        columns = [
            pa.array([each.record for each in self.hashes], pa.binary(16)),
            pa.array([each.text for each in self.hashes], pa.binary(16)),
            pa.array(self.lines, pa.int64()),
            messages,
            pa.array(self.raws, pa.large_binary()),
            _sparse(self.rejected, len(self.raws), MESSAGES),
            _sparse(self.labels, len(self.raws), pa.bool_()),
            _sparse(self.media, len(self.raws), pa.bool_()),
        ]
        self.rows.write_table(pa.Table.from_arrays(columns, schema=INTERIM), row_group_size=GROUP_ROWS)
        self.keys.add([each.kind for each in self.hashes], self.lines)
        self.count += len(self.raws)
        self._empty()

    def close(self) -> None:
        """Writes the rest and ends the file."""
        self._write()
        self.rows.close()
        self.keys.close()


def _sparse(values: Mapping[int, Any], count: int, kind: pa.DataType) -> pa.Array:
    """Returns an array of so many values, null where there is none at a place."""
    return pa.array(map(values.get, range(count)), kind) if values else pa.nulls(count, kind)


class KeyWriter:
    """Writes the hashes by which duplicates are found, in the order of the samples."""

    def __init__(self, file: BinaryIO):
        self.writer = pq.ParquetWriter(file, KEYS, compression="zstd", use_dictionary=False)
        self.shas, self.lines = bytearray(), array("q")

    def add(self, shas: Sequence[bytes], lines: Sequence[int | None]) -> None:
        """Adds the keys of some samples, in order."""
        self.shas.extend(b"".join(shas))
        self.lines.extend(line or 0 for line in lines)
        if len(self.lines) >= KEYS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        halves = np.frombuffer(bytes(self.shas), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        columns = (halves[:, 0], halves[:, 1], np.frombuffer(self.lines, dtype=np.int64))
        self.writer.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], schema=KEYS))
        self.shas, self.lines = bytearray(), array("q")

    def close(self) -> None:
        """Writes the rest and ends the file."""
        if self.lines:
            self._write()
        self.writer.close()


def rows_between(file: BinaryIO, column: str, low: int, high: int) -> pa.Table:
    """Returns the rows whose value in the column is in [low, high). Only row groups that may hold some are read."""
    parquet = pq.ParquetFile(file)
    place = parquet.schema_arrow.get_field_index(column)
    groups = []
    for group in range(parquet.num_row_groups):
        bounds = parquet.metadata.row_group(group).column(place).statistics
        if bounds is None or not bounds.has_min_max or (bounds.max >= low and bounds.min < high):
            groups.append(group)
    table = parquet.read_row_groups(groups)
    values = table[column].to_numpy()
    bound = values.dtype.type
    return table.filter(pa.array((values >= bound(low)) & (values <= bound(high - 1))))
