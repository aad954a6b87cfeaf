"""The folder of a pool: what its pool.json says, and its samples read by id.

Nothing here writes a pool, and the verbs are in `pool`.
"""
