"""Functions of numpy or torch arrays, which know nothing of Ray, operators or files."""
