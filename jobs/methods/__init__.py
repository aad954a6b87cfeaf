"""What a single method needs beside its recipe, or two methods that share a step on purpose.

The decisions of a paper stay in its recipe.
"""
