"""The pool with its verbs, and the selection that a recipe makes from it."""
