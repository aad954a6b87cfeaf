"""One question per file, answered by JSON lines with a ratio.

The data is made on the spot; what has to hold is a test, not a benchmark.
"""
