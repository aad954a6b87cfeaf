"""The commands: each module directly in this package is run as `winnow <name>`.

`arguments()` makes the parser of a command's words, and `main()` runs it and returns the exit code. What more than one
command needs is in `engine`.
"""
