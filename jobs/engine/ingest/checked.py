"""The settings that were asked for, and the files that they name, checked before any work begins."""

from collections.abc import Mapping
from typing import Any

from jobs.engine.ingest.before.contamination import refuse_unreadable_tests
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.record.declarations import validated


def settings_of(given: Mapping[str, Any]) -> IngestSettings:
    """Returns the settings with these values, as `reading_given` returns them.

    UsageError names each wrong one, and the first record of a test set that cannot be read.
    """
    settings = validated(IngestSettings, given)
    refuse_unreadable_tests(settings)
    return settings
