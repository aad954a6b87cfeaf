"""Operators that ask language models: the questions, the models that answer (vLLM or a server), and the replies.

What becomes of a rating a recipe decides.
"""
