"""The output of a run: the manifest, the ledger of all records, and the explanation and evaluation of a selection."""
