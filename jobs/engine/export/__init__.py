"""What others train on: the kept samples of a run as a trainer or the hub reads them.

What a run writes itself is in `outcome`.
"""
