"""Code that a method needs besides its recipe. The decisions of a paper are in its recipe, not here."""
