"""Gradients of each sample by itself: taken, projected, compared and measured."""
