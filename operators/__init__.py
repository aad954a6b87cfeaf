"""What is computed of a sample: operators, and under them kernels. Nothing here imports Ray."""
