"""Grows a pool by new samples, which models make from its own samples."""
