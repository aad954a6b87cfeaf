"""How well a model predicts the response or the class of a sample, by one forward pass.

What needs gradients is in `gradients`.
"""
