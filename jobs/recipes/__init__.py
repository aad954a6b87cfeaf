"""One file per method: the paper, its defaults, every deviation, and the algorithm in the engine's verbs.

Recipes do not import one another, and arithmetic is in `operators/kernels`.
"""
