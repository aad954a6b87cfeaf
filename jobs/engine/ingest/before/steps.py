"""The steps that leave samples out before a recipe, in order: contamination, near duplicates, the mix."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jobs.engine.ingest.before.contamination import read_tests, test_files, write_contaminated
from jobs.engine.ingest.before.mix import lines, mixed, parts_of, write_over_share
from jobs.engine.ingest.before.near import BANDS, candidates, group, near_name, repeats, write_bands
from jobs.engine.ingest.before.settle import REPEATED, Counts, settle, write_left_out
from jobs.engine.ingest.dedup import KEY_FILES, Placements, mark_repeats, partitions_of
from jobs.engine.ingest.files.inputs import Source
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few
from operators.kernels.minhash import banding


@dataclass(frozen=True)
class LeftOut:
    """The samples that are left out of the pool."""

    repeats: list[str]
    """The interim files of the duplicates, each in the order of positions."""

    marks: Any
    """The reference to the marks of all of them."""

    duplicates: dict[int, int]
    """The number of duplicates, by split."""

    aside: Counts
    """The number of samples that are set aside, by split and kind."""

    def counts(self) -> dict[int, int]:
        """The number of samples that are left out, by split."""
        return {number: count + sum(self.aside.get(number, {}).values()) for number, count in self.duplicates.items()}


@dataclass(frozen=True)
class Steps:
    """What the steps work on."""

    sources: Sequence[Source]
    of: Sequence[int]
    """The source of each split, by the split's number."""

    placements: Placements
    settings: IngestSettings
    interim: Folder
    tasks: Tasks


def leave_out(steps: Steps, exact: Sequence[str], marks: Any) -> LeftOut:
    """Returns what is left out: exact duplicates, and what the settings ask for.

    exact: the files of the exact duplicates. marks: the reference to their marks.
    """
    settings, tasks, full, interim = steps.settings, steps.tasks, steps.placements, steps.interim
    near: list[str] = []
    aside: list[str] = []
    if settings.decontaminate:
        aside += _contaminated(steps, marks)
        marks, _ = tasks.started(mark_repeats, full, [*exact, *aside], interim, returns=2)
    if settings.near_duplicates is not None:
        near += _near(steps, settings.near_duplicates, marks)
    if settings.mix:
        marks, left_out = tasks.started(mark_repeats, full, [*exact, *aside, *near], interim, returns=2)
        counts: dict[int, int] = fetched(left_out)
        left = {split.number: split.samples - counts[split.number] for split in full.splits}
        aside += _over_share(steps, marks, left)
    marks, duplicates, apart = tasks.started(settle, full, exact, near, aside, interim, returns=3)
    set_aside: Counts = fetched(apart)
    calls = [(split, interim) for split in full.splits if split.number in set_aside]
    tasks.results("set aside", write_left_out, calls)
    return LeftOut([REPEATED], marks, fetched(duplicates), set_aside)


def _contaminated(steps: Steps, marks: Any) -> list[str]:
    settings, tasks, files = steps.settings, steps.tasks, test_files(steps.settings)
    tests, counted = tasks.started(read_tests, files, settings, returns=2)
    records, short = fetched(counted)
    if short:
        tasks.say(
            f"{short:,} of {records:,} test records have no text of {settings.ngram} words or characters, so nothing "
            "is found to repeat them; a smaller --ngram finds more"
        )
    calls = [(split, marks, tests, settings.ngram, steps.interim) for split in steps.placements.splits]
    return tasks.results("compared with test sets", write_contaminated, calls)


def _near(steps: Steps, threshold: float, marks: Any) -> list[str]:
    tasks, interim, full = steps.tasks, steps.interim, steps.placements
    calls = [(split, marks, threshold, interim) for split in full.splits]
    names = tasks.results("sketched", write_bands, calls)
    names = few(interim, names, BANDS.names[0], partial(tasks.results, "merged sketches of"), KEY_FILES)
    ranges = partitions_of(full.samples * banding(threshold)[0])
    calls = [(names, number, bounds, interim) for number, bounds in enumerate(ranges)]
    tasks.results("looked for near duplicates in", candidates, calls)
    lots: int = fetched(tasks.started(group, len(ranges), interim))
    calls = [(lot, full, threshold, interim) for lot in range(lots)]
    tasks.results("compared near duplicates of", repeats, calls)
    return [near_name(lot) for lot in range(lots)]


def _over_share(steps: Steps, marks: Any, left: dict[int, int]) -> list[str]:
    settings, splits = steps.settings, steps.placements.splits
    parts = parts_of(settings.mix, steps.sources)
    within = [[split for split in splits if steps.of[split.number] in part.sources] for part in parts]
    samples = [sum(left[split.number] for split in some) for some in within]
    others = sum(left.values()) - sum(samples)
    found = mixed(parts, samples, others)
    for line in lines(found, others):
        steps.tasks.say(line)
    calls = [
        (each, number, some, settings.mix_seed, marks, steps.interim)
        for number, (each, some) in enumerate(zip(found, within, strict=True))
        if each.kept < each.samples
    ]
    return steps.tasks.results("drew the mix of", write_over_share, calls)
