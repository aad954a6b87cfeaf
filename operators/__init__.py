"""What is computed of a sample: operators, which are declarations whose fields are their identity.

Nothing here imports Ray or `jobs`.
"""
