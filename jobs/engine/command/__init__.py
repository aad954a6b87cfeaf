"""What a command is asked for: fields from text and files, places to read and to write, and the plan of a run.

Nothing here computes.
"""
