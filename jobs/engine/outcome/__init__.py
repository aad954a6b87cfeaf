"""What a run leaves: the manifest, the ledger of all records, and what is asked of them or of a model later.

The pages for people are in `report`.
"""
