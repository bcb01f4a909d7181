"""Valid cross-correlation of batches of pictures with a layer's kernels, planned once, run often.

`Convolution` holds one layer's kernels and knows three ways to apply them:

    gemm       unfold the patches (`gemm.py`) or the rows (`rows.py`) and multiply: any kernel, any stride
    fft        Fourier tiles, a complex product a frequency   stride 1; best for 5x5 and larger
    cook-toom  real tiles, a real product a point             stride 1, best for 3x3

The last two are one machine (`transform.py`) with two bases (`fourier.py`, `cooktoom.py`); `plan.py`
estimates costs and `tiles.py` cuts maps.  Arrays are (N, C, H, W) to the caller; in memory the
pictures come last, (C, H, W, N), so that every copy of a patch or tile, every pool and every
Fourier transform works on runs of N neighbours, and a product over channels needs no reordering.
"""

from collections import Counter
from collections.abc import Callable
from functools import cached_property, lru_cache, partial

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution import gemm, rows
from overfeat_tools.convolution.cooktoom import CookToomBasis
from overfeat_tools.convolution.fourier import FourierBasis
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.plan import RATES, Budget, Rates, Way, ways
from overfeat_tools.convolution.pooling import pool
from overfeat_tools.convolution.tiles import cut
from overfeat_tools.convolution.transform import Tiled

# A way must be estimated this much quicker than what is ready, or changing is not worth the doubt.
_WORTH_CHANGING = 0.9

_TILED_KEPT = 8

METHODS = ("auto", "gemm", "fft", "cook-toom")

__all__ = ["METHODS", "Budget", "Convolution", "Geometry", "Rates", "Way", "pictures_last", "pool"]


def pictures_last(x: Array, backend: Backend) -> FloatArray:
    """Give `x` (N, C, H, W) as a contiguous float32 array (C, H, W, N); no copy if it already is."""
    array: FloatArray = backend.xp.ascontiguousarray(x.transpose(1, 2, 3, 0), backend.xp.float32)
    return array


class Convolution:
    """One layer's kernels and biases, and the cheapest way to apply them to what comes.

    Parameters
    ----------
    weight : array (K, C, kh, kw) float32
    bias : array (K,) float32
    stride, padding : int
        The step between outputs; rows and columns of zeros on each side.
    backend : Backend
        Where to compute.
    method : {"auto", "gemm", "fft", "cook-toom"}
        A method other than `auto` is used wherever it can be, and gemm elsewhere.
    budget : Budget, optional
        Memory that spectra may take, shared with other convolutions.
    rates : Rates, optional
        What the machine does in a second; by default what machines of this kind usually do.
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
        budget: Budget | None = None,
        rates: Rates | None = None,
    ) -> None:
        self.weight, self.bias = weight, bias
        self.stride, self.padding, self.method = stride, padding, method
        self.used: Counter[str] = Counter()  # ways, in words, and how many batches took each
        self._backend = backend
        self._budget = budget or Budget()
        self._rates = rates or RATES[backend.name]
        self._ways: dict[tuple[int, ...], list[Way]] = {}
        self._spectra: dict[tuple[str, tuple[int, int]], list[Array]] = {}
        self._missed_seconds: dict[tuple[str, tuple[int, int]], float] = {}
        # Their tables are worth keeping for the sizes in use.  (No method: a cache of one would keep all this alive.)
        self._tiled = lru_cache(_TILED_KEPT)(partial(_tiled, backend))

    @cached_property
    def _parameters(self) -> tuple[FloatArray, FloatArray]:
        """Kernels and biases on the device; brought there once, by the first batch."""
        return self._backend.array(self.weight), self._backend.array(self.bias)

    def geometry(self, height: int, width: int) -> Geometry:
        """Give the sizes of this convolution on one map size."""
        kernels, channels, kernel_height, kernel_width = self.weight.shape
        return Geometry(channels, height, width, kernels, kernel_height, kernel_width, self.stride, self.padding)

    def __call__(self, x: Array, then: Callable[[Array], object] | None = None, squares: int = 1) -> FloatArray:
        """Convolve a batch.

        Parameters
        ----------
        x : array (N, C, H, W) float32
            Any memory order; pictures last is the fast one.
        then : callable, optional
            Applied, in place, to each piece of the output while it is in the cache.  It must not
            turn a larger value into a smaller one if there are `squares`, whose maximum comes first.
        squares : int
            The maximum of each square of so many outputs a side is all that is wanted.

        Returns
        -------
        array (N, K, out_height // squares, out_width // squares) float32
            Its memory order is pictures last.
        """
        geometry = self.geometry(*x.shape[2:])
        way = self.choose(x.shape[0], geometry)
        self.used[str(way)] += 1
        source = pictures_last(x, self._backend)
        weight, bias = self._parameters

        def finish(piece: Array, kernels: slice) -> None:
            piece += bias[kernels].reshape(-1, *[1] * (piece.ndim - 1))
            if then is not None:
                then(piece)

        def room(squares: int) -> FloatArray:
            shape = (geometry.kernels, geometry.out_height // squares, geometry.out_width // squares, x.shape[0])
            array: FloatArray = self._backend.xp.empty(shape, "float32")
            return array

        if way.method == "gemm":
            y = room(1)
            gemm.convolve(source, weight, y, geometry, self._backend, finish)
            if squares > 1:
                y = pool(y, squares, self._backend)
        elif way.method == "gemm-rows":
            (kernels,) = self._prepared(way, lambda: [rows.prepare(weight, geometry, self._backend)])
            y = room(squares)
            rows.convolve(source, kernels, y, geometry, self._backend, finish, squares)
        else:
            tiled = self._tiled(way.method, way.size, geometry)
            spectra = self._prepared(way, lambda: tiled.transform_kernels(weight))
            inside = squares if tiled.tiling.holds(squares) else 1
            y = room(inside)
            tiled.convolve(source, spectra, y, finish, inside)
            if inside != squares:
                y = pool(y, squares, self._backend)
        result: FloatArray = y.transpose(3, 0, 1, 2)
        return result

    def choose(self, pictures: int, geometry: Geometry) -> Way:
        """Choose how to compute a batch, weighing spectra that would have to be made first.

        Spectra are bought like skis: after renting (a slower way that is ready) has cost as much
        more as buying, buy.  Whatever comes, that takes at most twice the best possible time, so
        one picture never waits for spectra that only a long stream pays back.
        """
        found = self._candidates(pictures, geometry)
        ready = next((way for way in found if not way.spectra_bytes or way.key in self._spectra), found[0])
        if self.method != "auto":
            return next((way for way in found if way is ready or self._fits(way)), ready)
        best, gain = ready, 0.0
        for way in found:
            if way.seconds > _WORTH_CHANGING * ready.seconds:
                break
            missed = self._missed_seconds.get(way.key, 0.0) + ready.seconds - way.seconds
            self._missed_seconds[way.key] = missed
            if missed - way.price_seconds > gain and self._fits(way):
                best, gain = way, missed - way.price_seconds
        return best

    def _fits(self, way: Way) -> bool:
        return self._budget.fits(way.spectra_bytes - self._held_bytes)

    @property
    def _held_bytes(self) -> int:
        return sum(part.nbytes for parts in self._spectra.values() for part in parts)

    def _prepared(self, way: Way, prepare: Callable[[], list[Array]]) -> list[Array]:
        if way.key not in self._spectra:
            # One set a layer: what served small batches gives way to what serves large ones.
            self._budget.take(-self._held_bytes)
            self._spectra.clear()
            self._missed_seconds.clear()
            self._spectra[way.key] = prepare()
            self._budget.take(self._held_bytes)
        return self._spectra[way.key]

    def _candidates(self, pictures: int, geometry: Geometry) -> list[Way]:
        key = (pictures, geometry.height, geometry.width)
        if key not in self._ways:
            found = ways(geometry, pictures, self._rates)
            if self.method != "auto":
                wanted = [way for way in found if way.method.startswith(self.method)]
                found = wanted + [way for way in found if way.method == "gemm" and way not in wanted]
            self._ways[key] = found
        return self._ways[key]


def _tiled(backend: Backend, method: str, size: tuple[int, int], geometry: Geometry) -> Tiled:
    tiling = cut(geometry, *size)
    basis = FourierBasis if method == "fft" else CookToomBasis
    return Tiled(geometry, tiling, basis(geometry, tiling, backend), backend)
