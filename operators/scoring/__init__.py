"""Models that judge a text with a number: reward models and DEITA's scorers."""
