"""Embeddings: one vector per text. Comparing vectors is in `kernels`."""
