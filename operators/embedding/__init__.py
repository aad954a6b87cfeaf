"""A text as one vector."""
