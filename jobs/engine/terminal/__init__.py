"""What a person types and reads: commands and recipes by name, shared options, errors with their exit codes, lines on
the screen. Nothing here knows of pools or Ray."""
