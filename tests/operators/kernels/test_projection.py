"""Projections against their definition in integers, and against the error that theory predicts."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from operators.kernels import projection as kernel
from operators.kernels.projection import Projection, project, words

KINDS = ["rademacher", "shift"]
WORD = 2**64


def mixed(state):
    """SplitMix64's finaliser in Python integers."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def word(seed, row, column):
    return mixed(
        (mixed((seed + 0x9E3779B97F4A7C15) % WORD) + row * 0x9E3779B97F4A7C15 + column * 0xD1B54A32D192ED03) % WORD
    )


def sign(seed, row, column):
    return -1 if word(seed, row, column // 64) >> column % 64 & 1 else 1


def matrix(declared):
    """The projection as a matrix, entry by entry from its definition."""
    length, found = declared.dimensions, np.zeros((declared.coordinates, declared.dimensions))
    for at in range(declared.coordinates):
        if declared.kind == "rademacher":
            found[at] = [sign(declared.seed, at, column) / length**0.5 for column in range(length)]
        else:
            run, place = divmod(at, length)
            turn = (word(declared.seed, run, -(-length // 64)) >> 1) % length
            found[at, (place + turn) % length] = sign(declared.seed, run, place)
    return found


def rows(n, width, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_mixed_gives_splitmix64_s_first_numbers():
    numbers = [mixed(step * 0x9E3779B97F4A7C15 % WORD) for step in (1, 2, 3)]
    assert numbers == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_words_are_those_of_the_definition(seed):
    found = words(seed, range(3_000_000_000, 3_000_000_005), range(126, 129), torch.device("cpu"))
    expected = [[word(seed, row, column) for column in range(126, 129)] for row in range(3_000_000_000, 3_000_000_005)]
    assert (found.numpy().view(np.uint64) == np.array(expected, np.uint64)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimensions", [1, 50, 64, 200])
def test_project_is_the_product_with_the_matrix(kind, dimensions, monkeypatch):
    monkeypatch.setattr(kernel, "CPU_BLOCK", (100, 2))
    monkeypatch.setattr(kernel, "RUN_SIGNS", 150)
    declared = Projection(kind, dimensions, seed=7, coordinates=430)
    found = project(rows(5, 430), declared)
    expected = rows(5, 430).double().numpy() @ matrix(declared)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_project_slices_add_up_to_the_whole(kind):
    declared = Projection(kind, 96, seed=1, coordinates=1000)
    gradients = rows(4, 1000)
    whole = project(gradients, declared)
    for cuts in ([0, 1000], [0, 1, 95, 96, 97, 500, 1000], [0, 333, 333, 666, 1000]):
        parts = [project(gradients[:, start:stop], declared, offset=start) for start, stop in pairwise(cuts)]
        np.testing.assert_allclose(torch.stack(parts).sum(0), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_project_row_does_not_depend_on_its_company(kind):
    declared = Projection(kind, 128, seed=1, coordinates=700)
    gradients = rows(9, 700)
    whole = project(gradients, declared)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(project(gradients[order], declared), whole[order], atol=1e-5, rtol=0)
    np.testing.assert_allclose(project(gradients[4:5], declared), whole[4:5], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_project_bad_rows_show_and_leave_the_others_alone(kind, scale):
    declared = Projection(kind, 64, seed=1, coordinates=300)
    gradients = rows(3, 300) * scale
    expected = project(gradients, declared)
    gradients[1, 100] = torch.nan
    found = project(gradients, declared)
    assert not found[1].isfinite().all()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    norms = expected.norm(dim=1) / (rows(3, 300) * scale).norm(dim=1)
    assert norms.tolist() == pytest.approx([1] * 3, abs=5 / 64**0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("related", [0.0, 0.7])
def test_project_keeps_inner_products_as_theory_says(kind, related):
    """Over many seeds the bias is below 4 standard errors, and the variance is what theory predicts."""
    dimensions, seeds = 64, 400
    pair = rows(2, 500)
    pair[1] = related * pair[0] + (1 - related**2) ** 0.5 * pair[1]
    x, y = pair.double()
    truth = float(x @ y)
    variance = float(x @ x * (y @ y) + truth**2 - 2 * (x * y).square().sum()) / dimensions
    estimates = []
    for seed in range(seeds):
        left, right = project(pair, Projection(kind, dimensions, seed, 500)).double()
        estimates.append(float(left @ right))
    assert abs(np.mean(estimates) - truth) < 4 * (variance / seeds) ** 0.5
    # A sample variance of normal values has a relative standard deviation of sqrt(2 / seeds), here .07.
    assert np.var(estimates) / variance == pytest.approx(1, abs=4 * (2 / seeds) ** 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_project_many_pairs_err_by_one_part_in_the_root_of_dimensions(kind):
    gradients = rows(40, 20_000, seed=3)
    declared = Projection(kind, 4096, seed=0, coordinates=20_000)
    unit = torch.nn.functional.normalize(gradients.double())
    found = torch.nn.functional.normalize(project(gradients, declared).double())
    above = torch.triu_indices(40, 40, offset=1)
    errors = (found @ found.T - unit @ unit.T)[above[0], above[1]]
    assert errors.square().mean().sqrt() <= 1.1 / 4096**0.5
    assert errors.mean().abs() < 5 / (4096 * len(errors)) ** 0.5


def test_words_bits_are_even_and_independent_of_their_neighbours():
    hashed = words(0, range(4096), range(8), torch.device("cpu")).numpy().view(np.uint8)
    bits = np.unpackbits(hashed, axis=1, bitorder="little").astype(np.float64) * 2 - 1
    limit = 5 / bits.size**0.5
    assert abs(bits.mean()) < limit
    for rows_apart, columns_apart in ((1, 0), (0, 1), (1, 1), (2, 0), (0, 64), (1, 64)):
        ahead = bits[rows_apart:, columns_apart:]
        assert abs((bits[: len(ahead), : ahead.shape[1]] * ahead).mean()) < 1.1 * limit


def test_project_bfloat16_is_near_float32():
    declared = Projection("rademacher", 256, seed=0, coordinates=3000)
    gradients = rows(6, 3000)
    exact, near = project(gradients, declared), project(gradients, declared, precision="bfloat16")
    assert near.dtype == torch.float32
    assert ((near - exact).norm(dim=1) / exact.norm(dim=1)).max() < 4e-3
    assert not torch.equal(near, exact)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_project_takes_any_float_and_gives_float32(kind, dtype):
    declared = Projection(kind, 64, seed=0, coordinates=200)
    gradients = rows(3, 200).to(dtype)
    assert project(gradients, declared).dtype == torch.float32
    assert torch.equal(project(gradients, declared), project(gradients.float(), declared))


@pytest.mark.parametrize("kind", KINDS)
def test_project_nothing_gives_nothing(kind):
    declared = Projection(kind, 64, seed=0, coordinates=200)
    assert project(torch.ones(0, 200), declared).shape == (0, 64)
    assert project(torch.ones(2, 0), declared, offset=200).tolist() == [[0.0] * 64] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_project_other_seeds_give_other_projections(kind):
    gradients = rows(1, 5000)
    first, second = (project(gradients, Projection(kind, 512, seed, 5000))[0] for seed in (0, 1))
    assert abs(torch.cosine_similarity(first, second, dim=0)) < 5 / 512**0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kind": "gaussian"}, "kind"), ({"dimensions": 0}, "dimensions"), ({"coordinates": 0}, "coordinates"),
     ({"seed": -1}, "seed"), ({"seed": 2**64}, "seed")],
)  # fmt: skip
def test_projection_that_is_none_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Projection(**{"kind": "shift", "dimensions": 8, "seed": 0, "coordinates": 100, **change})


@pytest.mark.parametrize(
    ("gradients", "options", "message"),
    [
        (torch.ones(1, 101), {}, "coordinates 0 … 101"),
        (torch.ones(1, 10), {"offset": 95}, "coordinates 95 … 105"),
        (torch.ones(1, 10), {"offset": -1}, "coordinates -1"),
        (torch.ones(100), {}, "gradients"),
        (torch.ones(1, 100, dtype=torch.int64), {}, "gradients"),
        (torch.ones(1, 100), {"precision": "int8"}, "precision"),
    ],
)
def test_project_what_does_not_fit_is_refused(gradients, options, message):
    with pytest.raises(ValueError, match=message):
        project(gradients, Projection("rademacher", 64, 0, 100), **options)
