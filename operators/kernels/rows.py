"""What a number stands for in the parameters and results of a kernel: the position of a row.

A kernel counts the rows of its arrays. Whoever calls it may know the rows by other names, and can translate what is
annotated so.

    def closest(points: np.ndarray, center: np.ndarray) -> Position: ...
"""

from typing import Annotated

import numpy as np

ROW, ROWS = "the position of a row", "the positions of rows"

Position = Annotated[int, ROW]
"""The position of one row."""
Positions = Annotated[np.ndarray, ROWS]
"""(m,) int64, the positions of rows, in an order that the kernel gives."""
