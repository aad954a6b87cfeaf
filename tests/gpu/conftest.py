"""What needs a CUDA device: `pytest -m gpu` on a machine that has one, in a few minutes.

Elsewhere every test here is skipped, and says why.
"""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if not here:
        return
    import torch

    seen = torch.cuda.is_available()
    reason = f"no CUDA device: torch {torch.__version__} sees none on this machine"
    for item in here:
        item.add_marker(pytest.mark.gpu)
        item.add_marker(pytest.mark.skipif(not seen, reason=reason))
