"""The settings that were asked for, and the files that they name, checked before any work begins."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.ingest.before.contamination import refuse_unreadable_tests
from jobs.engine.ingest.before.mix import parts_of
from jobs.engine.ingest.files.inputs import silent, sources_of
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.record.declarations import validated


def settings_of(given: Mapping[str, Any]) -> IngestSettings:
    """Returns the settings with these values, as `reading_given` returns them.

    UsageError names each wrong one, and the first record of a test set that cannot be read.
    """
    settings = validated(IngestSettings, given)
    refuse_unreadable_tests(settings)
    return settings


def refuse_other_sources(inputs: Sequence[str], settings: IngestSettings) -> None:
    """InputError where the mix names what is no source of these raw files, or asks of them what cannot be."""
    if settings.mix:
        parts_of(settings.mix, sources_of(inputs, silent))
