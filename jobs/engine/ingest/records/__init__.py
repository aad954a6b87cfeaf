"""One record to one sample: strict JSON, the formats, the hashes, and why a record is quarantined.

Nothing here opens a file.
"""
