"""What does a sample's projection cost, by block and by shift, compared with a dense matrix generated naively?

    python -m benchmarks.projection [--coordinates 262144] [--dimensions 8192] [--samples 64]

The reference works like the projector that LESS uses without a GPU: for each block of 128 columns it seeds a generator,
draws a (coordinates, 128) matrix of signs with it, and multiplies. All blocks cost the same, so only a `--share` of
them is run and the time is scaled up. `reference` is its time for all samples at once. `less` is the time when the
signs are drawn again for every 16 samples, as LESS does. All sides take the same float32 rows in this process, in
turns: some columns of the reference, then ours. Times are CPU seconds, because wall time depends on other processes;
ours are medians over `--repeats`. Ratios are over ours.

Errors are root mean square errors of the inner products of all pairs of unit rows after projection. Theory predicts,
for the same pairs, sqrt((1 + <x, y>² - 2 sum x² y²) / dimensions). The reference's error, of fewer columns, is scaled
by the root of their share. The rows share a direction, as gradients do.
"""

import json

import numpy as np
import torch

from benchmarks._run import busy, cpu_seconds, options
from operators.kernels.projection import Projection, project

COLUMNS = 128
TOGETHER = 16
"""The number of samples that LESS projects at a time."""


def gradients(samples: int, coordinates: int, seed: int = 0) -> torch.Tensor:
    """(samples, coordinates) unit rows, with pairwise cosines of about .2 and coordinates of very unequal size."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(samples, coordinates, generator=random) + 0.5 * torch.randn(coordinates, generator=random)
    return torch.nn.functional.normalize(rows * torch.rand(coordinates, generator=random).pow_(3))


def naive_signs(coordinates: int, block: int) -> torch.Tensor:
    """(coordinates, 128) signs: one block of the reference's columns."""
    random = torch.Generator().manual_seed(1000 * block)
    return torch.empty(coordinates, COLUMNS).bernoulli_(0.5, generator=random).mul_(2).sub_(1)


def pair_errors(rows: torch.Tensor, projected: torch.Tensor) -> float:
    """The root mean square error of the inner products of all pairs."""
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)
    errors = (projected @ projected.T - rows @ rows.T)[first, second]
    return float(errors.double().square().mean().sqrt())


def expected_error(rows: torch.Tensor, dimensions: int) -> float:
    """The error that theory predicts for `pair_errors`."""
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)
    products, squares = (rows @ rows.T)[first, second], rows.square()
    variance = (1 + products.square() - 2 * (squares @ squares.T)[first, second]) / dimensions
    return float(variance.double().mean().sqrt())


def compare(coordinates: int, dimensions: int, samples: int, share: float, repeats: int) -> dict[str, object]:
    """The result line: the times per sample and the errors of all sides."""
    rows = gradients(samples, coordinates)
    sides = {kind: Projection(kind, dimensions, 0, coordinates) for kind in ("rademacher", "shift")}
    for one in sides.values():
        project(rows[:, :2048], one)
    count = max(repeats, round(share * dimensions / COLUMNS))
    spent: dict[str, list[float]] = {kind: [] for kind in sides}
    made, columns, drawn, multiplied = {}, [], 0.0, 0.0
    for some in np.array_split(np.arange(count), repeats):
        for block in some.tolist():
            drawing, signs = cpu_seconds(lambda block=block: naive_signs(coordinates, block))
            multiplying, products = cpu_seconds(lambda signs=signs: rows @ signs)
            columns.append(products)
            drawn, multiplied = drawn + drawing, multiplied + multiplying
        for kind, one in sides.items():
            seconds, made[kind] = cpu_seconds(lambda one=one: project(rows, one))
            spent[kind].append(1e3 * seconds / samples)
    scale = dimensions / (COLUMNS * count)
    reference = 1e3 * scale * (drawn + multiplied) / samples
    less = 1e3 * scale * (drawn / TOGETHER + multiplied / samples)
    rademacher, shift = (float(np.median(times)) for times in spent.values())
    return {
        "benchmark": "projection",
        "coordinates": coordinates,
        "dimensions": dimensions,
        "samples": samples,
        **busy(),
        "ms_per_sample": {
            "less": round(less, 1),
            "reference": round(reference, 1),
            "rademacher": round(rademacher, 1),
            "shift": round(shift, 3),
        },
        "rademacher_ratio": {"less": round(less / rademacher, 1), "reference": round(reference / rademacher, 1)},
        "shift_ratio": {"less": round(less / shift), "reference": round(reference / shift)},
        "error": {
            "expected": expected_error(rows, dimensions),
            "reference": pair_errors(rows, torch.cat(columns, 1) * (COLUMNS * count) ** -0.5) / scale**0.5,
            **{kind: pair_errors(rows, found) for kind, found in made.items()},
        },
    }


def main() -> None:
    parser = options(__doc__, coordinates=262_144, samples=128, threads=1, repeats=2)
    parser.add_argument("--dimensions", type=int, default=8192, help=f"a multiple of {COLUMNS}")
    parser.add_argument("--share", type=float, default=0.25, help="the share of the reference's columns to run")
    given = parser.parse_args()
    if given.dimensions % COLUMNS:
        parser.error(f"--dimensions is a multiple of {COLUMNS}, not {given.dimensions}")
    torch.set_num_threads(given.threads)
    print(
        json.dumps(compare(given.coordinates, given.dimensions, given.samples, given.share, given.repeats)), flush=True
    )


if __name__ == "__main__":
    main()
