"""Random projections that keep inner products, generated when they are used and the same on every machine.

    E < project(x), project(y) > = <x, y>,    standard error at most sqrt((|x|²|y|² + <x, y>²) / dimensions)

rademacher: every coordinate has a row of independent signs, scaled by 1 / sqrt(dimensions), as in LESS. Column j has
the sign of bit j % 64 of a hash of seed, coordinate and j // 64; 1 means minus. The matrix is hashed one block at a
time, and a block serves all samples of a call: with hundreds of samples per call its cost is small.

shift: a CountSketch (Charikar et al. 2002) whose hash is a random cyclic shift for each run of `dimensions`
coordinates. Each coordinate gets a random sign and is added to one place. The error is the same at a hundredth of the
cost. The signs of run c are those of row c of the matrix, and its shift is the hash of the word after them.

The hash uses only integer arithmetic modulo 2**64 (the finaliser of SplitMix64, Steele et al. 2014), so a CPU and any
GPU generate the same signs. Results differ only by the order of sums.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch

GOLDEN = 0x9E3779B97F4A7C15  # SplitMix64's step: from one coordinate to the next
COLUMN = 0xD1B54A32D192ED03  # odd too: from one word of 64 columns to the next
CPU_BLOCK = (1024, 16)  # coordinates by words of columns: 4 MB of float32 signs, written and read in cache
CUDA_BLOCK = (8192, 128)  # 256 MB
RUN_SIGNS = 2**18  # signs of a shift at a time: 1 MB


@dataclass(frozen=True)
class Projection:
    """The declaration of a projection. Projected features are comparable only if their projections are equal."""

    kind: Literal["rademacher", "shift"]
    dimensions: int
    seed: int
    coordinates: int
    """The number of coordinates before projection."""

    def __post_init__(self) -> None:
        if self.kind not in ("rademacher", "shift"):
            raise ValueError(f"kind is 'rademacher' or 'shift', not {self.kind!r}")
        if self.dimensions < 1 or self.coordinates < 1:
            raise ValueError(f"dimensions and coordinates are at least 1, not {self.dimensions} and {self.coordinates}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed is from 0 to 2**64 - 1, not {self.seed}")


@torch.no_grad()
def project(
    gradients: torch.Tensor,
    projection: Projection,
    *,
    offset: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> torch.Tensor:
    """(n, dimensions) float32 projections of the rows, on their device.

    gradients: (n, width) floats, the coordinates from `offset` on. The projections of slices add up to that of the
    whole. precision: of a rademacher product. The error of bfloat16 is a few thousandths of a row's length, which is
    less than the error of the projection for up to a hundred thousand dimensions.

    A row that is not finite gives a projection that is not finite. ValueError for a slice that reaches beyond the
    projection's coordinates.
    """
    if gradients.ndim != 2 or not gradients.is_floating_point():
        raise ValueError(f"gradients: (n, width) floats wanted, not {tuple(gradients.shape)} {gradients.dtype}")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision is 'float32' or 'bfloat16', not {precision!r}")
    stop = offset + gradients.shape[1]
    if not 0 <= offset <= stop <= projection.coordinates:
        raise ValueError(f"coordinates {offset} … {stop} are not all among {projection.coordinates}")
    if projection.kind == "shift":
        return _shifted(gradients, projection, offset)
    return _rademacher(gradients, projection, offset, torch.float32 if precision == "float32" else torch.bfloat16)


def words(seed: int, rows: range, columns: range, device: torch.device) -> torch.Tensor:
    """(rows, columns) int64, 64 random bits per row and word of columns, which depend only on seed, row and column."""
    state = torch.arange(rows.start, rows.stop, device=device)[:, None] * _signed(GOLDEN)
    state = state + torch.arange(columns.start, columns.stop, device=device) * _signed(COLUMN)
    # The seed is hashed first, so that the rows of one seed are not the shifted rows of another.
    state += int(_mixed(torch.tensor([_signed(seed)]).add_(_signed(GOLDEN))))
    return _mixed(state)


def _mixed(state: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser, in place. int64 products wrap like unsigned ones; shifts have to drop the sign."""
    state.bitwise_xor_((state >> 30) & (2**34 - 1)).mul_(_signed(0xBF58476D1CE4E5B9))
    state.bitwise_xor_((state >> 27) & (2**37 - 1)).mul_(_signed(0x94D049BB133111EB))
    return state.bitwise_xor_((state >> 31) & (2**33 - 1))


def _signed(number: int) -> int:
    """The int64 with the same bits."""
    return (number + 2**63) % 2**64 - 2**63


class _Signs:
    """Blocks of +1 and -1 made from words, each in the memory of the one before."""

    def __init__(self, rows: int, columns: int, dtype: torch.dtype, device: torch.device):
        # A float's highest bit is its sign, and the other bits are those of 1.0: integer operations write floats.
        self.integers, self.one, self.bits = (
            (torch.int32, 0x3F800000, 32) if dtype == torch.float32 else (torch.int16, 0x3F80, 16)
        )
        self.dtype = dtype
        self.room = torch.empty(rows * columns * 64, dtype=self.integers, device=device)

    def of(self, hashed: torch.Tensor) -> torch.Tensor:
        """(rows, columns * 64) signs of the words; bit b of all parts of words comes before bit b + 1 of any part."""
        parts = hashed.view(self.integers)
        planes = self.room[: parts.numel() * self.bits].view(len(parts), self.bits, parts.shape[1])
        for bit in range(self.bits):
            torch.bitwise_left_shift(parts, self.bits - 1 - bit, out=planes[:, bit])
        planes.bitwise_and_(-(2 ** (self.bits - 1))).bitwise_or_(self.one)
        return planes.view(self.dtype).view(len(parts), -1)

    def in_order(self, sums: torch.Tensor) -> torch.Tensor:
        """The columns of `of`, sorted into the order of the bits of the words."""
        planes = sums.view(len(sums), self.bits, sums.shape[1] // 64, 64 // self.bits)
        return planes.permute(0, 2, 3, 1).reshape(sums.shape)


def _rademacher(gradients: torch.Tensor, projection: Projection, offset: int, dtype: torch.dtype) -> torch.Tensor:
    device, (n, width) = gradients.device, gradients.shape
    height, across = CUDA_BLOCK if gradients.is_cuda else CPU_BLOCK
    total = math.ceil(projection.dimensions / 64)
    signs = _Signs(min(height, width), min(across, total), dtype, device)
    found = torch.empty(n, projection.dimensions, device=device)
    for left in range(0, total, across):
        columns = range(left, min(left + across, total))
        sums = torch.zeros(n, 64 * len(columns), device=device)
        for start in range(0, width, height):
            rows = range(start, min(start + height, width))
            part = gradients[:, rows.start : rows.stop].to(dtype)
            hashed = words(projection.seed, range(offset + rows.start, offset + rows.stop), columns, device)
            if dtype == torch.float32:
                sums.addmm_(part, signs.of(hashed))
            else:
                sums += part @ signs.of(hashed)
        place = found[:, 64 * left : 64 * columns.stop]
        place.copy_(signs.in_order(sums)[:, : place.shape[1]])
    return found.mul_(projection.dimensions**-0.5)


def _shifted(gradients: torch.Tensor, projection: Projection, offset: int) -> torch.Tensor:
    device, (n, width), length = gradients.device, gradients.shape, projection.dimensions
    found = torch.zeros(n, length, device=device)
    total = math.ceil(length / 64)
    group = max(1, RUN_SIGNS // length)
    signs = _Signs(group, total, torch.float32, device)
    stop = offset + width
    for first in range(offset // length, math.ceil(stop / length), group):
        runs = range(first, min(first + group, math.ceil(stop / length)))
        hashed = words(projection.seed, runs, range(total + 1), device)
        turns = (((hashed[:, total] >> 1) & (2**63 - 1)) % length).tolist()
        rows = signs.in_order(signs.of(hashed[:, :total].contiguous()))
        for run, turn, row in zip(runs, turns, rows, strict=True):
            begin, end = max(run * length, offset), min((run + 1) * length, stop)
            part = gradients[:, begin - offset : end - offset].float()
            _add_turned(found, part, row[begin - run * length : end - run * length], begin - run * length + turn)
    return found


def _add_turned(found: torch.Tensor, part: torch.Tensor, signs: torch.Tensor, place: int) -> None:
    """Adds part * signs to the columns from `place` on, cyclically."""
    length = found.shape[1]
    for low in (0, length):  # up to the last column, then from the first
        left, right = max(place, low), min(place + part.shape[1], low + length)
        if left < right:
            inside = slice(left - place, right - place)
            found[:, left - low : right - low].addcmul_(part[:, inside], signs[inside])
