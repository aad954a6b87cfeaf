"""The precision that a model computes in, as the fields of operators name it."""

from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]
"""auto: bfloat16 on hardware that multiplies it, float32 elsewhere."""
