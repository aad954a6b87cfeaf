"""What an ingest is told besides its inputs: limits on a record, the columns that a person named, what may lack."""

from collections.abc import Mapping, Set
from dataclasses import field, fields
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from jobs.engine.terminal.arguments import COLUMN_ROLES
from jobs.engine.terminal.errors import UsageError
from operators.base import STRICT

MIB = 1 << 20
EXECUTION = ("split_bytes", "task_cpus")

BOOKKEEPING = frozenset(
    {
        # What the record is called. Not every "..._id" is such a name: an image_id or a tool_call_id is content.
        *("id", "_id", "uuid", "guid", "uid", "idx", "index", "record_id", "row_id", "sample_id", "example_id"),
        *("instance_id", "data_id", "doc_id", "document_id", "conversation_id", "conv_id", "chat_id", "dialogue_id"),
        *("dialog_id", "thread_id", "message_id", "prompt_id", "question_id", "__index_level_0__", "unnamed: 0"),
        # Where it was found. Not "url", "path" or "file_name": those may be an image's.
        *("row", "line", "line_number", "row_number", "source", "source_dataset", "source_file", "source_url"),
        *("origin", "dataset", "dataset_name", "subset", "split", "shard"),
        # When, and how it was told from others.
        *("timestamp", "date", "created", "created_at", "create_time", "created_time", "updated", "updated_at"),
        *("update_time", "last_modified", "hash", "sha", "sha1", "sha256", "md5", "checksum", "conversation_hash"),
    }
)
"""Fields of a record or of a message, in lower case, that make no two records differ. What is not here does: a label,
a score, a category, a language, the name of a model. When in doubt a field is not here, as a sample that is there twice
does less harm than one that is lost."""


@dataclass(frozen=True, config=STRICT)
class IngestSettings:
    """Limits, names and needs; all but `split_bytes` and `task_cpus` are part of an ingest's key."""

    max_record_bytes: int = 16 * MIB
    """A longer record is quarantined and only its first 64 KiB are kept there."""

    max_turns: int = 10_000
    max_nesting: int = 64

    max_expansion: int = 200
    """How many times larger than its file a .gz or .zst may become; looked at above 16 MiB."""

    columns: dict[str, str] = field(default_factory=dict)
    """Role (instruction, input, response, system) to column name; given, no format is recognised."""

    ignore: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Fields by which no two records differ, beside those of BOOKKEEPING."""

    answers: Literal["needed", "optional"] = "needed"
    """optional: records without an answer are samples too, for what learns their labels alone."""

    split_bytes: int = 32 * MIB
    """The size of the pieces that .jsonl and .parquet files are read in; it changes no result."""

    task_cpus: float = 1.0
    """The CPUs that one Ray task asks for."""

    @field_validator("columns")
    @classmethod
    def _columns_make_a_sample(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(columns) - set(COLUMN_ROLES))
        if unknown:
            raise ValueError(f"no such role: {unknown[0]!r}; the roles are {', '.join(COLUMN_ROLES)}")
        absent = [role for role in ("instruction", "response") if columns and role not in columns]
        if absent:
            raise ValueError(f"--columns names {', '.join(columns)} but not {' and '.join(absent)}")
        return columns

    @field_validator("max_record_bytes", "max_turns", "max_nesting", "max_expansion", "split_bytes")
    @classmethod
    def _at_least_one(cls, number: int) -> int:
        if number < 1:
            raise ValueError("a limit is at least 1")
        return number

    @cached_property
    def bookkeeping(self) -> Set[str]:
        """The fields by which no two records differ, in lower case."""
        return BOOKKEEPING | {name.lower() for name in self.ignore}

    def semantics(self) -> dict[str, Any]:
        """The settings that change what is ingested, as plain values."""
        told = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in EXECUTION}
        return {**told, "columns": dict(self.columns), "ignore": sorted({name.lower() for name in self.ignore})}


def settings_of(told: Mapping[str, Any]) -> IngestSettings:
    """The settings with these values, as `told` of the shared arguments gives them; UsageError names a wrong one."""
    try:
        return IngestSettings(**told)
    except ValidationError as error:
        first = error.errors()[0]
        named = ".".join(map(str, first["loc"])) or "reading"
        raise UsageError(f"{named}: {first['msg'].removeprefix('Value error, ')}") from None
