"""Comparing recipes over one pool: who takes part, what is measured of a selection, and what it cost.

contenders   the recipes and the controls, built and checked together
results      the runs of the recipes, and what each has left in its folder
measures     how a selection covers its pool and differs from it
costs        seconds, passes of models and tokens, from the record of a run
losses       fine-tunes on each selection with as many steps, and their held-out losses
table        the rows of all contenders, as JSON and Markdown
outcome      what a comparison leaves in its folder
"""

KIND = "comparisons"
"""The folder in the store with what is measured for comparisons."""
