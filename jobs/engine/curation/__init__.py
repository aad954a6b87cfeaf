"""A run of a recipe, from its inputs to all that it leaves in its folder.

The decision is the recipe's; what is written is made in `outcome` and `report`.
"""
