"""The dataset card: README.md beside the selection, as the Hugging Face hub reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import DatasetCardData

from jobs.engine.outcome.outcome import Outcome
from jobs.engine.record.entries import Use, besides, uses
from jobs.engine.report.origin import FILES_LISTED, REPEAT, File, as_yaml, files, method, short_names
from jobs.engine.report.rendering import write_page

SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7),
         ("10M<n<100M", 10**8), ("100M<n<1B", 10**9), ("1B<n<10B", 10**10), ("10B<n<100B", 10**11),
         ("100B<n<1T", 10**12))  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What the template of the card shows."""

    header: str
    """The metadata that the hub reads, as YAML."""
    recipe: str
    budget: Any
    counts: Mapping[str, int]
    """The number of records read, and that per state."""
    method: str
    as_published: bool
    seed: int | None
    fields: str
    uses: list[Use]
    targets: list[tuple[str, str]]
    """The files read besides the sources, each with its hash."""
    files: list[File]
    files_left_out: int
    fingerprint: str
    repeat: str
    versions: str
    command: str


def write_card(outcome: Outcome) -> None:
    """Writes README.md: the hub's metadata, and for people what was selected, from what, how, and how to repeat it."""
    write_page(outcome.desk.out, "README.md", "card.md", card(outcome))


def card(outcome: Outcome) -> Card:
    """The content of the card."""
    manifest, run, pool = outcome.manifest, outcome.manifest["run"], outcome.manifest["pool"]
    listed = files(pool)
    return Card(
        header=metadata(outcome).to_yaml(),
        recipe=run["recipe"],
        budget=run["fields"].get("budget"),
        counts={"read": manifest["counts"]["records"], **outcome.counts},
        method=method(run["recipe"]),
        as_published=bool(run.get("as_published")),
        seed=run["fields"].get("seed"),
        fields=as_yaml(run["fields"]),
        uses=uses(manifest["verbs"]),
        targets=besides(manifest["verbs"]),
        files=listed,
        files_left_out=len(pool["sources"]) - len(listed),
        fingerprint=pool["fingerprint"],
        repeat=REPEAT,
        versions=", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items()),
        command=manifest["command"].rstrip(),
    )


def metadata(outcome: Outcome) -> DatasetCardData:
    """What the hub wants to know of the dataset. The licence and the languages are not guessed."""
    recipe, kept = outcome.manifest["run"]["recipe"], outcome.counts["kept"]
    uris = [source["uri"] for source in outcome.manifest["pool"]["sources"]]
    return DatasetCardData(
        license="other",
        license_name="see-sources",
        pretty_name=f"{recipe} selection of {kept:,} samples",
        size_categories=[next((name for name, below in SIZES if kept < below), "n>1T")],
        task_categories=["text-generation"],
        source_datasets=_hub_datasets(uris) or None,
        tags=["winnow", "data-selection", "instruction-tuning", recipe],
        source_files=list(short_names(uris).values())[:FILES_LISTED],
        # Without it the hub would read selection.parquet and quarantine.jsonl as samples too.
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "selected.jsonl"}]}],
    )


def _hub_datasets(uris: Sequence[str]) -> list[str]:
    """The hub's datasets among the sources, as owner/name."""
    names = ["/".join(uri.split("@")[0].split("/")[3:5]) for uri in uris if uri.startswith("hf://datasets/")]
    return sorted(set(names))
