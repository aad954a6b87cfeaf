"""What people read: the report and the card of a run, and the pages of a fitted rule and of a comparison.

Nothing here decides anything about a sample.
"""
