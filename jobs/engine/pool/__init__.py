"""The pool with its verbs, and the selection that a recipe makes of it."""
