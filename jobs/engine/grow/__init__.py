"""Pools that grow: new samples that models made of a pool's samples.

How often a pool grows, and of which samples, a recipe decides.
"""
