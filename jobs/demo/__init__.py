"""The demo: a corpus written by the project itself, and a selection of it that a newcomer can judge."""
