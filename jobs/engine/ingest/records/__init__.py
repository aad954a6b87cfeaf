"""From one record to one sample: strict JSON, formats, hashes and quarantine. Nothing here opens a file."""
