"""The names of the classes and slots that a classifier learns, from the records of a pool."""

from dataclasses import replace

import numpy as np
import ray

from jobs.engine.samples.pool_folder import Samples
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.terminal.errors import UsageError
from operators.base import RowError
from operators.supervision.labels import Labels


def with_names(samples: Samples, labels: Labels) -> Labels:
    """The labels with the names of all classes and slots in the pool's records, sorted; named labels stay as they are.

    UsageError where there are fewer than two classes, or no slots where slots are wanted.
    """
    if labels.named():
        return labels
    classes, slots = ray.get(_names.remote(samples.parts, labels))
    found = replace(labels, classes=classes, slot_names=slots)
    if not found.named():
        fields = " and ".join(repr(field) for field in (labels.label, labels.slots) if field)
        raise UsageError(
            f"a classifier tells two classes and more apart: in {samples.folder} the records that have {fields} have "
            f"{len(classes)} classes and {len(slots)} slots; name the record's fields by labels.label=... and "
            "labels.slots=..."
        )
    return found


@ray.remote(num_cpus=1)
def _names(parts: Parts, labels: Labels) -> tuple[tuple[str, ...], tuple[str, ...]]:
    classes, slots = set(), set()
    for table in read_samples(parts, np.arange(sum(parts.rows)), ["raw"]):
        for raw in table["raw"].to_pylist():
            try:
                label, slot_names = labels.of(raw)
            except RowError:  # training counts it and leaves it out
                continue
            classes.add(label)
            slots.update(slot_names)
    return tuple(sorted(classes)), tuple(sorted(slots))
