"""Evolves seeds into training pairs for DEITA's scorers: chains of variants, and a judge's scores for them."""
