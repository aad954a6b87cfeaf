"""The dataset card: README.md beside the selection, as the Hugging Face hub reads it."""

from collections.abc import Sequence

from huggingface_hub import DatasetCardData

from jobs.engine.outcome.ledger import DUPLICATE, NEARLY
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.report.origin import FILES_LISTED, method, origin, short_names
from jobs.engine.report.rendering import write_page

SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7),
         ("10M<n<100M", 10**8), ("100M<n<1B", 10**9), ("1B<n<10B", 10**10), ("10B<n<100B", 10**11),
         ("100B<n<1T", 10**12))  # fmt: skip


def write_card(outcome: Outcome) -> None:
    """Writes README.md: the hub's metadata, and for people what was selected, from what, how, and how to repeat it."""
    manifest, run = outcome.manifest, outcome.manifest["run"]
    page = {
        **origin(manifest),
        "header": metadata(outcome).to_yaml(),
        "budget": run["fields"].get("budget"),
        "nearly": outcome.ledger.tally[DUPLICATE, NEARLY],
        "counts": {"read": manifest["counts"]["records"], **outcome.counts},
        "method": method(run["recipe"]),
        "as_published": run.get("as_published"),
        "fingerprint": manifest["pool"]["fingerprint"],
        "versions": ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items()),
    }
    write_page(outcome.desk.out, "README.md", "card.md", page)


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
