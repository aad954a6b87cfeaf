"""The commands: each module directly in this package is run as `winnow <name>`.

What more than one command needs is in `engine`.
"""
