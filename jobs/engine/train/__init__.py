"""A training run on the samples of a pool, from the driver to the workers and the checkpoints that it leaves.

The training loop is in `operators/training`.
"""
