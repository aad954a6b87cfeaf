"""Products whose rows do not depend on one another."""

from itertools import pairwise

import pytest
import torch

from operators.kernels.products import products


@pytest.mark.parametrize("dimensions", [7, 64, 1000])
@pytest.mark.parametrize("count", [1, 3, 57])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_row_has_the_same_bits_among_any_other_rows(dimensions, count, kind):
    drawn = torch.Generator().manual_seed(0)
    rows, vectors = (torch.randn(n, dimensions, generator=drawn, dtype=kind) for n in (900, count))
    whole = products(rows, vectors)
    assert torch.allclose(whole.double(), rows.double() @ vectors.double().T, atol=1e-3)
    for cuts in ([1, 2, 3, 500, 501], [257], [33, 600, 899]):
        parts = [products(rows[first:end], vectors) for first, end in pairwise([0, *cuts, 900])]
        assert torch.equal(torch.cat(parts), whole)


def test_there_may_be_no_rows():
    assert products(torch.empty(0, 3), torch.ones(2, 3)).shape == (0, 2)
