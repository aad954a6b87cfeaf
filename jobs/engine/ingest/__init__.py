"""Ingest: makes a pool of raw files, record by record, and loses no record silently.

    inputs ─ splits ─► parse (pass 1) ─► dedup (pass 2) ─► parts (pass 3) ─► pool.json

A pool is a folder of part-*.parquet (the samples), duplicates.parquet, quarantine.jsonl and, written last,
pool.json. A folder with a pool.json holds a complete pool.
"""

from jobs.engine.ingest.build import ingest, ingest_key
from jobs.engine.ingest.faults import InputError, RecordFault
from jobs.engine.ingest.records.formats import messages_of
from jobs.engine.ingest.settings import IngestSettings, settings_of

__all__ = ["IngestSettings", "InputError", "RecordFault", "ingest", "ingest_key", "messages_of", "settings_of"]
