"""Models that score a text: reward models and DEITA's scorers. Judges, whose score is in a reply, are in `asking`."""
