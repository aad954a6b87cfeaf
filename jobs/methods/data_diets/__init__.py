"""The two data diets: samples scored under models early in their training, once or from cycle to cycle.

The scores of a class or a token are operators.
"""
