"""The rules of InstructMining: their indicators, their fit and their use, and the search for the size of a selection.

What is computed of a sample is in `operators`.
"""
