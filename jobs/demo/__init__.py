"""The demo: a corpus that the project writes itself, and a selection of it that a newcomer can judge.

Nothing else uses it.
"""
