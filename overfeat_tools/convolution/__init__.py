"""Valid cross-correlation of batches of pictures with a layer's weights, planned once, run often.

`Convolution` holds one layer's weights.  For each batch it chooses among the algorithms of `planner.ALGORITHMS`, each
of which says where it fits, what it costs, what it must prepare, and how it runs:

    gemm            a product of unfolded patches and the weights as they lie        everything
    unpacked        a product of the weights as they lie, for 1x1 and full maps      compiled kernels
    indirect        a product that unfolds nothing, on packed weights                compiled kernels
    cook-toom, fft  tiles: a product for each element of their spectra               compiled kernels
    fft, cook-toom  the same by FFTW and numpy, or on a graphics card                everything with stride 1
    few rows, fused by kernels of our own, on a graphics card, where they are tried  see `card_kernels`

Arrays have the channels last, (N, H, W, C).
"""

from collections import Counter
from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution.algorithm import Algorithm, fills_vectors
from overfeat_tools.convolution.epilogue import Epilogue, compiled_max_pool, finish, max_pool
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry
from overfeat_tools.convolution.normalise import compiled_normalise
from overfeat_tools.convolution.planner import (
    Account,
    Ledger,
    choose,
    choose_reproducible,
    estimate,
    list_algorithms,
)
from overfeat_tools.convolution.rates import RATES, Rates, rates_of
from overfeat_tools.errors import BackendError

__all__ = [
    "FLOAT_BYTES", "RATES", "Algorithm", "Allocate", "Convolution", "Geometry", "Ledger", "Rates", "compiled_max_pool",
    "compiled_normalise", "fills_vectors", "finish", "max_pool", "rates_of",
]  # fmt: skip

# Map sizes whose algorithms are remembered, with their tables and estimates.
_SIZES_KEPT = 16

Allocate = Callable[[tuple[int, ...]], FloatArray]
"""Gives memory for an array of a shape."""


class Convolution:
    """One layer's weights and biases, and the cheapest way to apply them to what comes.

    Parameters
    ----------
    weight : array (K, C, kh, kw) float32
    bias : array (K,) float32
    backend : Backend
        Where to compute.
    stride, padding : int
        The step between outputs; rows and columns of zeros on each side.
    method : {"auto", "gemm", "fft", "cook-toom"}
        A method other than `auto` is used wherever it can be, and gemm elsewhere.
    ledger : Ledger, optional
        What preparations may cost, shared with other convolutions.
    on_repacking : callable, optional
        Called before packed weights are given up, as others may have noted where they are.
    reproducible : bool
        Whether a picture's result must not depend on its batch, on the threads or on what came before.
    """

    def __init__(
        self,
        weight: FloatArray,
        bias: FloatArray,
        *,
        backend: Backend,
        stride: int = 1,
        padding: int = 0,
        method: str = "auto",
        ledger: Ledger | None = None,
        on_repacking: Callable[[], None] = lambda: None,
        reproducible: bool = False,
    ) -> None:
        self.weight, self.bias = weight, bias
        self.stride, self.padding, self.method = stride, padding, method
        self.used: Counter[str] = Counter()  # algorithms by name, and how many batches took each
        self._backend = backend
        self._ledger = ledger or Ledger(rates_of(backend), compiler=backend.compiler)
        self._account, self._on_repacking = Account(self._ledger), on_repacking
        self.packed: dict[str, list[Array]] = {}
        self._ready: dict[str, list[Array]] = {}  # weights as they are, and copies too small to count
        self.reproducible = reproducible
        self._fixed = lru_cache(_SIZES_KEPT)(
            lambda geometry, pool_size: choose_reproducible(geometry, pool_size, backend, method)
        )
        # (No methods: a cache of one would keep all this alive.)  The compiler counts, as any convolution may drop it.
        self._algorithms = lru_cache(_SIZES_KEPT)(
            lambda geometry, _compiler: list_algorithms(geometry, backend, method)
        )
        self._estimates = lru_cache(_SIZES_KEPT)(
            lambda geometry, pictures, pool_size, compiler, _is_loaded: estimate(
                self._algorithms(geometry, compiler), pictures, self._ledger.rates, pool_size
            )
        )

    @cached_property
    def _parameters(self) -> tuple[FloatArray, FloatArray]:
        """Weights and biases on the device; brought there once, by the first batch."""
        to_device = self._backend.to_device
        return to_device(self.weight), to_device(np.ascontiguousarray(self.bias, np.float32))

    def geometry(self, height: int, width: int, pool_size: int = 1) -> Geometry:
        """Give the sizes of this convolution on one map size, less what a pool that follows drops."""
        kernels, channels, *sides = self.weight.shape
        whole = Geometry(channels, height, width, kernels, sides[0], sides[1], self.stride, self.padding)
        return whole.cropped(pool_size)

    def __call__(
        self, x: Array, threshold: float | None = None, pool_size: int = 1, allocate: Allocate | None = None
    ) -> FloatArray:
        """Convolve a batch.

        Parameters
        ----------
        x : array (N, H, W, C)
        threshold : float, optional
            Clear all outputs that are not above it.
        pool_size : int
            The maximum of each window of so many outputs a side is all that is wanted.
        allocate : callable, optional
            Gives memory for the result; by default a new array.

        Returns
        -------
        array (N, out_height // pool_size, out_width // pool_size, K) float32
        """
        pictures, height, width, _ = x.shape
        algorithm = self.choose(pictures, self.geometry(height, width, pool_size), pool_size)
        return self.run(algorithm, x, threshold, pool_size, allocate)

    def run(
        self,
        algorithm: Algorithm,
        x: Array,
        threshold: float | None = None,
        pool_size: int = 1,
        allocate: Allocate | None = None,
    ) -> FloatArray:
        """Convolve a batch by an algorithm that was made for its geometry; see `__call__`."""
        bias, weights = self._parameters[1], self.pack(algorithm)
        backend, wanted = self._backend, algorithm.geometry
        held = pool_size if algorithm.holds(pool_size) else 1
        rows, columns, allocate = wanted.out_height // held, wanted.out_width // held, allocate or backend.empty
        source = backend.xp.ascontiguousarray(x, np.float32)
        shape = len(x), rows, columns, wanted.kernels
        y = allocate(shape) if held == pool_size else backend.workspace("unpooled", shape)
        algorithm.run(source, weights, y, Epilogue(bias, threshold, held))
        if held == pool_size:
            return y
        # A pool that the algorithm cannot take is taken afterwards.
        pooled = allocate((len(x), rows // pool_size, columns // pool_size, wanted.kernels))
        if algorithm.is_compiled and backend.compiler:
            compiled_max_pool(y, pooled, pool_size, backend, backend.compiler)
        else:
            max_pool(y, pooled, pool_size, backend)
        return pooled

    def workspace_bytes(self, pictures: int, geometry: Geometry, pool_size: int = 1) -> int:
        """Bound the memory that a batch takes beside its input, its output and packed weights."""
        before_pool = pictures * geometry.out_pixels * geometry.kernels * FLOAT_BYTES
        return max(
            algorithm.workspace_bytes(pictures) + (0 if algorithm.holds(pool_size) else before_pool)
            for algorithm in self._algorithms(geometry, self._backend.compiler)
        )

    def choose(self, pictures: int, geometry: Geometry, pool_size: int = 1) -> Algorithm:
        """Choose how to compute a batch, and book what that costs; see `planner.Ledger`."""
        compiler = self._backend.compiler
        if self.reproducible:
            return self._choose_fixed(geometry, pool_size)
        estimates = self._estimates(geometry, pictures, pool_size, compiler, compiler is not None and compiler.loaded)
        ready = choose(estimates, self.packed, kernels_loaded=compiler is not None and compiler.loaded)
        if self.method == "auto":
            algorithm = self._account.invest(estimates, ready)
        else:
            wanted = (one.algorithm for one in estimates if one.algorithm.method == self.method)
            algorithm = next((one for one in wanted if self._account.fits(one)), ready.algorithm)
        if compiler and algorithm.is_compiled and not compiler.usable():
            self._backend.compiler = None
            return self.choose(pictures, geometry, pool_size)
        self.used[str(algorithm)] += 1
        return algorithm

    def _choose_fixed(self, geometry: Geometry, pool_size: int) -> Algorithm:
        algorithm = self._fixed(geometry, pool_size)
        if not self._account.fits(algorithm):
            needed = f"{algorithm.packed_bytes >> 20} MiB for the weights of a layer"
            raise BackendError(f"for reproducible results, {needed} are more than $OVERFEAT_MEMORY leaves")
        self.used[str(algorithm)] += 1
        return algorithm

    def pack(self, algorithm: Algorithm) -> list[Array]:
        """Give the weights as an algorithm takes them, packed the first time."""
        name, weight = algorithm.packing, self._parameters[0]
        if not algorithm.packed_bytes:
            if name not in self._ready:
                self._ready[name] = algorithm.pack(weight)
            return self._ready[name]
        if name not in self.packed:
            # One set a layer: what served small batches gives way to what serves large ones.
            self._on_repacking()
            self.packed.clear()
            self._account.replace(0)
            self.packed[name] = algorithm.pack(weight)
            self._account.replace(sum(part.nbytes for part in self.packed[name]))
        return self.packed[name]
