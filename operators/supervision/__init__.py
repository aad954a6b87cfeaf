"""The tokens of a sample, and the labels that a model is trained to predict at them. Nothing here loads a model."""
