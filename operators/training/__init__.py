"""Training: its declaration and its loop, of adapters or all weights, on one process or several."""
