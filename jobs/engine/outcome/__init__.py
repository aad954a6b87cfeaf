"""What a run leaves: the manifest, the ledger of all records, and what can be asked of them later."""
