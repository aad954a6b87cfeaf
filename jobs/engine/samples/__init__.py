"""The folder of a pool: the content of its pool.json, and its samples by id. The verbs are in `pool`."""
