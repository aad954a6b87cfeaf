"""One record to one sample: strict JSON, the formats, the hashes, and what is quarantined. Nothing here opens a
file."""
