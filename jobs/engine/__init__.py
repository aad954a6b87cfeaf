"""The machinery under the verbs: pools, the store, streaming, training, and what a run writes.

What only one method needs is in `methods`.
"""
