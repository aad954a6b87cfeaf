"""Models that score a text: reward models and DEITA's scorers."""
