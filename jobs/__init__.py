"""What is run: every module directly in this package is a command, `python -m jobs.<name>`."""
