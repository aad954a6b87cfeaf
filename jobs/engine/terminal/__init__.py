"""What the user types and reads: names of commands and recipes, shared options, errors with their exit codes, and lines
on the screen. Nothing here knows of pools or Ray."""
