"""The settings of an ingest: limits on a record, names of columns, which answers are needed, and what is left out."""

from collections.abc import Set
from dataclasses import field, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from jobs.engine.terminal.arguments import COLUMN_ROLES
from operators.base import STRICT

MIB = 1 << 20
EXECUTION = ("split_bytes", "task_cpus")
BEFORE = ("near_duplicates", "decontaminate", "ngram", "mix", "mix_seed")
"""The settings that leave samples out. They are part of the key where they are given."""

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
    """The field of each role, such as instruction and response. Where it is given, no format is recognised."""

    ignore: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Fields that are left out when records are compared, besides those of BOOKKEEPING."""

    answers: Literal["needed", "optional"] = "needed"
    """needed: a record without an answer is quarantined; optional: it is a sample, for recipes that learn labels."""

    pairs: Literal["chosen", "both", "skip"] = "chosen"
    """Of a preference record: chosen, the better answer is a sample; both, each answer is one; skip, neither."""

    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """The Jaccard similarity of 5-character shingles from which a sample nearly repeats an earlier one; None: none."""

    decontaminate: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Files with test sets. A sample that shares `ngram` words with one of their records is set aside."""

    ngram: Annotated[int, Field(ge=1)] = 13
    """The number of words, or of characters in scripts without spaces, that make a sample contaminated."""

    mix: dict[str, float] = field(default_factory=dict)
    """By source, its share of the pool if below 1, or else the most samples of it."""

    mix_seed: Annotated[int, Field(ge=0)] = 0
    """The seed by which the samples of the mix are drawn."""

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
        if "messages" in columns and (more := {"instruction", "input", "response", "reasoning"} & columns.keys()):
            raise ValueError(f"--columns names messages and {', '.join(sorted(more))}; a record has one or the other")
        return columns

    @field_validator("max_record_bytes", "max_turns", "max_nesting", "max_expansion", "split_bytes")
    @classmethod
    def _at_least_one(cls, number: int) -> int:
        if number < 1:
            raise ValueError("a limit is at least 1")
        return number

    @field_validator("mix")
    @classmethod
    def _amounts_can_be_met(cls, mix: dict[str, float]) -> dict[str, float]:
        for name, amount in mix.items():
            if not (0 < amount < 1 or (amount >= 1 and amount == int(amount))):
                raise ValueError(f"{name}={amount:g}: a share is between 0 and 1, and a number of samples is whole")
        if (total := sum(Fraction(repr(amount)) for amount in mix.values() if amount < 1)) > 1:
            raise ValueError(f"the shares add up to {float(total):g}, which is more than 1")
        return mix

    @cached_property
    def leaves_out(self) -> bool:
        """Whether samples besides exact duplicates are left out."""
        return bool(self.near_duplicates is not None or self.decontaminate or self.mix)

    def whole(self) -> "IngestSettings":
        """Returns the settings by which no sample is left out, for samples that are not candidates, such as targets."""
        plain = IngestSettings()
        return replace(self, **{name: getattr(plain, name) for name in BEFORE})

    @cached_property
    def bookkeeping(self) -> Set[str]:
        """The fields that are left out when records are compared, in lower case."""
        return BOOKKEEPING | {name.lower() for name in self.ignore}

    def semantics(self) -> dict[str, Any]:
        """Returns the settings that change the pool, as plain values."""
        kept = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in EXECUTION}
        plain = IngestSettings()
        kept = {name: value for name, value in kept.items() if name not in BEFORE or value != getattr(plain, name)}
        if "decontaminate" in kept:
            kept["decontaminate"] = [*self.decontaminate]
        return {**kept, "columns": dict(self.columns), "ignore": sorted({name.lower() for name in self.ignore})}
