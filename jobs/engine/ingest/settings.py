"""What an ingest is told besides its inputs: the limits on a record, and the columns that a person named."""

from dataclasses import field

from pydantic import field_validator
from pydantic.dataclasses import dataclass

from operators.base import STRICT

MIB = 1 << 20
COLUMN_ROLES = ("instruction", "input", "response", "system")


@dataclass(frozen=True, config=STRICT)
class IngestSettings:
    """Limits and column names; all but `split_bytes` and `task_cpus` are part of an ingest's key."""

    max_record_bytes: int = 16 * MIB
    """A longer record is quarantined and only its first 64 KiB are kept there."""

    max_turns: int = 10_000
    max_nesting: int = 64

    max_expansion: int = 200
    """How many times larger than its file a .gz or .zst may become; looked at above 16 MiB."""

    columns: dict[str, str] = field(default_factory=dict)
    """Role (instruction, input, response, system) to column name; given, no format is recognised."""

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
            raise ValueError(f"columns= names {', '.join(columns)} but not {' and '.join(absent)}")
        return columns

    @field_validator("max_record_bytes", "max_turns", "max_nesting", "max_expansion", "split_bytes")
    @classmethod
    def _at_least_one(cls, number: int) -> int:
        if number < 1:
            raise ValueError("a limit is at least 1")
        return number

    def semantics(self) -> dict:
        """The settings that change what is ingested, as plain values."""
        return {
            "max_record_bytes": self.max_record_bytes,
            "max_turns": self.max_turns,
            "max_nesting": self.max_nesting,
            "max_expansion": self.max_expansion,
            "columns": dict(self.columns),
        }
