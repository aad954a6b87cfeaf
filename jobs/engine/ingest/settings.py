"""The settings of an ingest: limits on a record, names of columns, and whether answers are needed."""

from collections.abc import Mapping, Set
from dataclasses import field, fields
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from jobs.engine.record.declarations import validated
from jobs.engine.terminal.arguments import COLUMN_ROLES
from operators.base import STRICT

MIB = 1 << 20
EXECUTION = ("split_bytes", "task_cpus")

BOOKKEEPING = frozenset(
    {
        # The name of the record. Not every "..._id" is one: an image_id or a tool_call_id is content.
        *("id", "_id", "uuid", "guid", "uid", "idx", "index", "record_id", "row_id", "sample_id", "example_id"),
        *("instance_id", "data_id", "doc_id", "document_id", "conversation_id", "conv_id", "chat_id", "dialogue_id"),
        *("dialog_id", "thread_id", "message_id", "prompt_id", "question_id", "__index_level_0__", "unnamed: 0"),
        # Where the record was found. Not "url", "path" or "file_name": those may name an image.
        *("row", "line", "line_number", "row_number", "source", "source_dataset", "source_file", "source_url"),
        *("origin", "dataset", "dataset_name", "subset", "split", "shard"),
        # When it was made, and what distinguishes it from others.
        *("timestamp", "date", "created", "created_at", "create_time", "created_time", "updated", "updated_at"),
        *("update_time", "last_modified", "hash", "sha", "sha1", "sha256", "md5", "checksum", "conversation_hash"),
    }
)
"""Fields of a record or of a message, in lower case, that are left out when records are compared. Other fields make two
records differ: a label, a score, a category, a language, the name of a model. When in doubt a field is not listed: a
sample that is kept twice does less harm than one that is lost."""


@dataclass(frozen=True, config=STRICT)
class IngestSettings:
    """The settings of an ingest. All but `split_bytes` and `task_cpus` are part of its key."""

    max_record_bytes: int = 16 * MIB
    """The most bytes of a record. A longer one is quarantined, with its first 64 KiB."""

    max_turns: int = 10_000
    """The most turns of a conversation."""

    max_nesting: int = 64
    """The most levels of arrays and objects inside one another."""

    max_expansion: int = 200
    """The most bytes that a byte of a .gz or .zst file may become. Files that stay below 16 MiB have no limit."""

    columns: dict[str, str] = field(default_factory=dict)
    """The field of each role (instruction, input, response, system). Where it is given, no format is recognised."""

    ignore: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Fields that are left out when records are compared, besides those of BOOKKEEPING."""

    answers: Literal["needed", "optional"] = "needed"
    """needed: a record without an answer is quarantined; optional: it is a sample, for recipes that learn labels."""

    pairs: Literal["chosen", "both", "skip"] = "chosen"
    """Of a preference record: chosen, the better answer is a sample; both, each answer is one; skip, neither."""

    split_bytes: int = 32 * MIB
    """The size of the pieces in which .jsonl and .parquet files are read. It changes no result."""

    task_cpus: float = 1.0
    """The number of CPUs that one Ray task reserves."""

    @field_validator("columns")
    @classmethod
    def _columns_make_a_sample(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(columns) - set(COLUMN_ROLES))
        if unknown:
            raise ValueError(f"no such role: {unknown[0]!r}; the roles are {', '.join(COLUMN_ROLES)}")
        needed = () if not columns or "messages" in columns else ("instruction", "response")
        absent = [role for role in needed if role not in columns]
        if absent:
            raise ValueError(f"--columns names {', '.join(columns)} but not {' and '.join(absent)}")
        if "messages" in columns and (more := {"instruction", "input", "response"} & columns.keys()):
            raise ValueError(f"--columns names messages and {', '.join(sorted(more))}; a record has one or the other")
        return columns

    @field_validator("max_record_bytes", "max_turns", "max_nesting", "max_expansion", "split_bytes")
    @classmethod
    def _at_least_one(cls, number: int) -> int:
        if number < 1:
            raise ValueError("a limit is at least 1")
        return number

    @cached_property
    def bookkeeping(self) -> Set[str]:
        """The fields that are left out when records are compared, in lower case."""
        return BOOKKEEPING | {name.lower() for name in self.ignore}

    def semantics(self) -> dict[str, Any]:
        """Returns the settings that change the pool, as plain values."""
        kept = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in EXECUTION}
        return {**kept, "columns": dict(self.columns), "ignore": sorted({name.lower() for name in self.ignore})}


def settings_of(given: Mapping[str, Any]) -> IngestSettings:
    """Returns the settings with these values, as `reading_given` returns them. UsageError names each wrong one."""
    return validated(IngestSettings, given)
