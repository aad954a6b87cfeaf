"""Where features are kept: part files, the values in them, and the lock that lets one run write.

Nothing here knows of samples or Ray.
"""
