"""Ingest: raw files to a pool, record by record, where nothing is lost silently.

Reading a pool is in `samples`.

    inputs ─ splits ─► parse (pass 1) ─► dedup (pass 2) ─► before (what is left out) ─► parts (pass 3) ─► pool.json

A pool is a folder of part-*.parquet (the samples), duplicates.parquet, quarantine.jsonl and, written last,
pool.json: where that is, the pool is complete.
"""

from jobs.engine.ingest.build import ingest, ingest_key, refuse_foreign
from jobs.engine.ingest.checked import settings_of
from jobs.engine.ingest.faults import InputError, RecordFault
from jobs.engine.ingest.records.formats import messages_of
from jobs.engine.ingest.settings import IngestSettings

__all__ = [
    "IngestSettings",
    "InputError",
    "RecordFault",
    "ingest",
    "ingest_key",
    "messages_of",
    "refuse_foreign",
    "settings_of",
]
