"""The pool and its subsets with their verbs, and the selection that a recipe makes of them.

How a verb is executed is in `execute`, `train` and `grow`.
"""
