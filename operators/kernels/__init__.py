"""Array functions: numpy in, numpy out. They know nothing of Ray, operators or files."""
