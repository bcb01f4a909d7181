"""What an algorithm is: one way to compute one convolution, with its cost.  `Tiles` is what two of them share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from overfeat_tools.backend import Array, Backend, Call, Compiler, FloatArray, Place
from overfeat_tools.convolution.epilogue import Epilogue
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry, Tiling, tile
from overfeat_tools.convolution.kernels.matmul import VECTORS, panel_width
from overfeat_tools.convolution.kernels.pad import pad_kernel
from overfeat_tools.convolution.rates import Rates

# A thread copies so many rows at a time, at least.
_LEAST_ROWS = 16


@dataclass(frozen=True)
class Algorithm(ABC):
    """One way to compute a convolution of one geometry on one device.

    Arrays have the channels last.  `method` is the family that `--method` names; `is_compiled` tells whether the
    algorithm needs compiled kernels.
    """

    method: ClassVar[str]
    is_compiled: ClassVar[bool] = False

    geometry: Geometry
    backend: Backend

    def __str__(self) -> str:
        return self.method

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights that `pack` makes; 0 where the weights are used as they are."""
        return 0

    def workspace_bytes(self, pictures: int) -> int:
        """Bound the memory that `run` takes beside its arguments."""
        geometry = self.geometry
        height, width = geometry.height + 2 * geometry.padding, geometry.width + 2 * geometry.padding
        return pictures * height * width * geometry.channels * FLOAT_BYTES if geometry.padding else 0

    @property
    def packing(self) -> str:
        """Name what the packed weights depend on, beside the weights."""
        return str(self)

    @abstractmethod
    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of one batch."""

    def packing_seconds(self, rates: Rates) -> float:  # noqa: ARG002 -- for those that pack
        """Estimate the time that `pack` takes."""
        return 0.0

    def is_offered(self, method: str) -> bool:
        """Tell whether the algorithm is one of a method, or of `auto`."""
        return method in ("auto", self.method)

    def holds(self, pool_size: int) -> bool:
        """Tell whether `run` can take a pool of this size by itself."""
        return pool_size == 1

    def pack(self, weight: FloatArray) -> list[Array]:
        """Arrange weights (K, C, kh, kw) as `run` takes them."""
        return [weight]

    @abstractmethod
    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`.

        Parameters
        ----------
        x : array (N, H, W, C) float32, contiguous
            H and W are at least the geometry's.
        weights : sequence of arrays
            From `pack`.
        y : array (N, out_height // pool size, out_width // pool size, K) float32, contiguous
            The output.
        epilogue : Epilogue
            What follows the sums; `holds` must be true of its pool.
        """


@dataclass(frozen=True)
class Tiles(Algorithm):
    """Tiles of one size, in one basis; `basis_name` is the method."""

    basis_name: str
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.basis_name} {self.size[0]}x{self.size[1]}"

    @property
    def method(self) -> str:  # type: ignore[override]  # noqa: D102 -- each basis is a method of its own
        return self.basis_name

    @cached_property
    def tiling(self) -> Tiling:
        """How a map is cut."""
        return tile(self.geometry, *self.size)

    def holds(self, pool_size: int) -> bool:
        """Tell whether no window of the pool extends over two tiles."""
        return self.tiling.out_height % pool_size == self.tiling.out_width % pool_size == 0


def fills_vectors(channels: int, compiler: Compiler) -> bool:
    """Tell whether channels fill whole vectors, as most compiled kernels need."""
    return channels % (panel_width(compiler) // VECTORS) == 0


def compiler_of(backend: Backend) -> Compiler:
    """Give the compiler of a backend that has one; algorithms that need it are offered for no other."""
    compiler = backend.compiler
    assert compiler is not None  # noqa: S101 -- for the type checker
    return compiler


def padded(x: FloatArray, geometry: Geometry, backend: Backend, size: tuple[int, int] = (0, 0)) -> FloatArray:
    """Surround maps (N, H, W, C) with the geometry's padding, and with more below and right if they must be larger.

    The result is `x` itself where it needs none, else memory that is good until the next call.
    """
    width, (pictures, rows, columns, channels) = geometry.padding, x.shape
    height, length = max(rows + 2 * width, size[0]), max(columns + 2 * width, size[1])
    if (height, length) == (rows, columns):
        return x
    result: FloatArray = backend.workspace("padded", (pictures, height, length, channels))

    def copy(number: int) -> None:
        whole = result[number]
        whole[:width] = whole[width + rows :] = 0.0
        whole[:, :width] = whole[:, width + columns :] = 0.0
        whole[width : width + rows, width : width + columns] = x[number]

    backend.parallel_for(copy, range(pictures))
    return result


def compiled_pad(x: FloatArray, geometry: Geometry, backend: Backend) -> FloatArray:
    """Surround maps (N, H, W, C) with the geometry's padding, by a compiled kernel; see `padded`."""
    width, (pictures, rows, columns, channels) = geometry.padding, x.shape
    if not width:
        return x
    y: FloatArray = backend.workspace("padded", (pictures, rows + 2 * width, columns + 2 * width, channels))
    kernel = pad_kernel(compiler_of(backend))
    row_floats, x_row_floats = y.shape[2] * channels, columns * channels
    backend.launch([
        [Call(kernel, (
            Place(y, picture * y.strides[0]), Place(x, picture * x.strides[0]), row_floats, x_row_floats, rows,
            width, width * channels, some.start, some.stop,
        ))]
        for picture in range(pictures)
        for some in backend.chunks(y.shape[1], _LEAST_ROWS)
    ])  # fmt: skip
    return y
