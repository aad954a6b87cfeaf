"""Training pairs for DEITA's scorers: seeds that are evolved into chains of variants, and a judge's scores of them.

The operators that ask the models are in `operators/asking`.
"""
