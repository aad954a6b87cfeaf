"""Gradients of each sample by itself: taken, projected, compared and measured.

Updating a model by gradients is in `training`.
"""
