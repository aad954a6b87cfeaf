"""The folder of a pool: what its pool.json says, and its samples read by id. The verbs are in `pool`."""
