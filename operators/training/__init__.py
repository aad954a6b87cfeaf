"""Training as a declaration and as a loop: adapters or all weights, in one process or several.

On which machines it runs is in `jobs/engine/train`.
"""
