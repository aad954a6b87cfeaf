"""torch, imported when it is first used, for kernels that recipes name on the driver and workers run.

The driver runs no kernel. Without this module every command, even a mistyped one, would wait for torch to load.
"""

import importlib
from typing import Any


class OnUse:
    """A module that is imported when one of its attributes is first read."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


torch = OnUse("torch")
