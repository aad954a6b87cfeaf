"""What a person types and reads: names, shared options, errors with their exit codes, and lines on the screen.

Nothing here knows of pools or Ray.
"""
