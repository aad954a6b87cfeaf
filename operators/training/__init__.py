"""Training as a declaration and as a loop: adapters or all weights, on one process or several."""
