"""Functions of arrays, each usable by itself. They know nothing of Ray, operators or files."""
