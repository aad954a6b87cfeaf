"""A pool that grows by new samples which models made of its own."""
