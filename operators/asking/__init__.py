"""Operators that ask language models: the questions, the models that answer (vLLM or a server), and the replies."""
