"""How maps and reduces run on Ray: the session, the profile, the workers, and what a failure says.

What is computed is in `operators`.
"""
