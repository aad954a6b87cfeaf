"""What is run: every module directly in this package is a command, `winnow <name>`."""
