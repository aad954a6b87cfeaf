"""torch for kernels that recipes name and workers run: it is imported when it is first used.

A driver names kernels and runs none. Without this each of its commands, and each mistyped one, would wait for torch.
"""

import importlib
from typing import Any


class OnUse:
    """A module that is imported by the first attribute that is asked of it."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


torch = OnUse("torch")
