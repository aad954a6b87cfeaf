"""Per-sample gradients: computed, projected, compared with targets, and their norms."""
