"""The kernels on CUDA against the CPU: the same picks and labels, and numbers as close as their sums allow.

Needs torch, numpy and pytest alone (pytest.ini beside this file).
"""

import warnings

import numpy as np
import pytest
import torch

from operators.kernels.adam import adam_feature, check_moments, sgd_feature
from operators.kernels.device import exact_distances, largest_norm
from operators.kernels.distance import distances, full_precision, squared_norms
from operators.kernels.influence import cosines, dots, squares, subtask_vectors
from operators.kernels.k_center import k_center
from operators.kernels.kmeans import kmeans
from operators.kernels.placed import Placed
from operators.kernels.projection import Projection, project, words
from operators.kernels.repr_filter import repr_filter
from operators.kernels.token_stats import el2n, sample_stats, token_stats

DEVICE = "cuda"
# The numbers of a pretended device are those of the CPU, whatever the points are.
KINDS = ("normal", "grid", "far from zero", "duplicates", "tiny", "unit") if torch.cuda.is_available() else ("normal",)
DTYPES = (np.float16, np.float32, np.float64)


def cloud(kind, n, width, dtype=np.float32):
    random = np.random.default_rng(7)
    normal = random.normal(size=(n, width))
    return {
        "normal": normal,
        "grid": random.integers(0, 4, (n, width)).astype(float),
        "far from zero": normal + 100,
        "duplicates": normal[random.integers(0, n // 3, n)],
        "tiny": normal * (1e-20 if dtype != np.float16 else 1e-3),
        "unit": normal / np.linalg.norm(normal, axis=1, keepdims=True),
    }[kind].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_k_center_has_the_picks_of_the_cpu(kind, dtype):
    points = cloud(kind, 5000, 8, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here, there = k_center(points, 300), k_center(points, 300, device=DEVICE)
        warm = [k_center(points, 50, warm=[3, 9, 3], device=device) for device in ("cpu", DEVICE)]
    for first, second in ((here, there), warm):
        assert first.picks.tolist() == second.picks.tolist()
        assert (first.distances.tobytes(), first.radius) == (second.distances.tobytes(), second.radius)


def test_k_center_of_several_blocks_has_the_picks_of_the_cpu():
    points = cloud("unit", 150_000, 32)
    assert k_center(points, 200).picks.tolist() == k_center(points, 200, device=DEVICE).picks.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("duplicates", "tiny")])
def test_kmeans_has_the_bits_of_the_cpu(kind, dtype):
    points = cloud(kind, 12_000, 5, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same_clustering(points, 60)


def test_kmeans_of_several_blocks_has_the_bits_of_the_cpu():
    most = {} if torch.cuda.is_available() else {"iterations": 2, "full_iterations": 1}
    assert_same_clustering(cloud("unit", 150_000, 32), 100, **most)


def assert_same_clustering(points, k, **iterations):
    here, there = (kmeans(points, k, seed=0, device=device, **iterations) for device in ("cpu", DEVICE))
    for name in ("labels", "centroids", "distances"):
        assert getattr(here, name).tobytes() == getattr(there, name).tobytes(), name
    assert (here.inertia, here.iterations) == (there.inertia, there.iterations)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_distances_and_the_largest_norm_have_the_bits_of_the_cpu(kind):
    points = cloud(kind, 20_000, 384)
    others = points[::-1].copy()
    there, opposite = torch.from_numpy(points).to(DEVICE), torch.from_numpy(others).to(DEVICE)
    assert exact_distances(there, opposite).cpu().numpy().tobytes() == distances(points, others).tobytes()
    assert largest_norm(Placed(there, np.zeros(there.shape[1]))) == float(squared_norms(torch.from_numpy(points)).max())


@pytest.mark.parametrize("kernel", [lambda points: k_center(points, 3, device=DEVICE),
                                    lambda points: kmeans(points, 3, seed=0, device=DEVICE)])  # fmt: skip
def test_a_row_that_is_not_finite_is_named(kernel):
    points = cloud("normal", 3000, 4)
    points[1234, 2] = np.nan
    with pytest.raises(ValueError, match="row 1234"):
        kernel(points)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("normal", "duplicates", "unit")])
@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_repr_filter_has_the_rows_of_the_cpu(kind, threshold):
    rows = cloud(kind, 6000, 8)
    here, there = repr_filter(rows, None, threshold), repr_filter(rows, None, threshold, device=DEVICE)
    for name in ("kept", "blocker", "similarity"):
        assert getattr(here, name).tobytes() == getattr(there, name).tobytes(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_token_stats_are_those_of_float64_on_the_cpu(dtype):
    random = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(300, 64, generator=random).to(dtype), torch.randn(9000, 64, generator=random).to(dtype)
    bias, targets = torch.randn(9000, generator=random).to(dtype), torch.randint(9000, (300,), generator=random)
    given = [part.to(DEVICE) for part in (hidden / 4, head, targets, bias)]
    logits = (hidden / 4).double() @ head.double().T + bias.double()
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    error = (logits.softmax(1) - torch.nn.functional.one_hot(targets, 9000)).norm(dim=1)
    for tile in (None, (128, 1000)):
        found = token_stats(*given, tile=tile)
        torch.testing.assert_close(found.nll.cpu().double(), nll, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(found.el2n.cpu().double(), error, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(el2n(logits.float().to(DEVICE), given[2]).cpu().double(), error, atol=1e-4, rtol=1e-5)
    samples = torch.arange(300) // 30
    mean = sample_stats(found, samples.to(DEVICE), 10).nll_mean.cpu().double()
    torch.testing.assert_close(mean, nll.view(10, 30).mean(1), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["rademacher", "shift"])
def test_a_projection_has_the_signs_of_the_cpu(kind):
    there = words(5, range(9000), range(130), torch.device(DEVICE)).cpu()
    assert torch.equal(there, words(5, range(9000), range(130), torch.device("cpu")))
    declared = Projection(kind, 500, seed=2, coordinates=20_000)
    unit = torch.eye(20_000)[:50]  # rows of the matrix itself: no sum is rounded
    assert torch.equal(project(unit.to(DEVICE), declared).cpu(), project(unit, declared))
    dense = torch.randn(16, 20_000, generator=torch.Generator().manual_seed(0))
    with full_precision():
        found = project(dense.to(DEVICE), declared).cpu()
    torch.testing.assert_close(found, project(dense, declared), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("placement", ["inside", "outside"])
def test_features_and_influence_are_those_of_the_cpu(placement):
    random = torch.Generator().manual_seed(0)
    gradients, targets = (1e-3 * torch.randn(count, 5000, generator=random) for count in (40, 12))
    first, second = 1e-3 * torch.randn(5000, generator=random), 1e-6 * torch.rand(5000, generator=random)
    subtasks = np.arange(12) % 4

    def compared(device):
        moments = first.to(device), second.to(device)
        check_moments(*moments)
        steps = adam_feature(gradients.to(device), *moments, placement=placement)
        vectors = subtask_vectors(sgd_feature(targets.to(device)), subtasks)
        return cosines(dots(steps, vectors), squares(steps))

    with full_precision():
        np.testing.assert_allclose(compared(DEVICE), compared("cpu"), atol=1e-5)


@pytest.mark.cuda
def test_adam_s_feature_never_waits_for_the_device():
    given = [torch.rand(shape, device=DEVICE) for shape in ((3, 5), (5,), (5,))]
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        adam_feature(*given)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
