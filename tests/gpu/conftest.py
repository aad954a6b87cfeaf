"""What runs on a CUDA device: `pytest -m gpu` on a machine that has one, in a few minutes.

Elsewhere the same tests run with fewer rows on a pretended device (pretended.py), but for those that ask CUDA itself.
"""

from pathlib import Path

import pytest
import torch

from tests.gpu.pretended import pretended_gpu

REAL = torch.cuda.is_available()


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not REAL and item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device: the test asks CUDA itself"))


@pytest.fixture(autouse=True)
def device():
    """A CUDA device, or a pretended one."""
    if REAL:
        yield
        return
    with pretended_gpu():
        yield
