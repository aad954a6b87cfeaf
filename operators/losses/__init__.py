"""How well a model predicts a sample's response or its class."""
