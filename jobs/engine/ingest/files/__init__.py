"""The files that inputs name: what lies where, and a reader for each kind of file, in pieces.

The formats of records are in `records`.
"""
