"""The tokens of a sample, and what a model is trained to predict in them."""
