"""The files that inputs name, read in pieces: what lies where, and a reader for each kind of file. No formats of
records."""
