"""How well a model predicts the response or the class of a sample."""
