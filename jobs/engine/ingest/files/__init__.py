"""The files that the inputs name, and a reader for each kind of file. The formats of records are in `records`."""
