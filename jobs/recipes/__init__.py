"""One file a method: the paper, its defaults, every deviation, and the algorithm in the engine's verbs."""
