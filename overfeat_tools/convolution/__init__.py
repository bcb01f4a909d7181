"""Valid cross-correlation of batches of pictures with a layer's kernels, planned once, run often.

`Convolution` holds one layer's kernels and knows three ways to apply them:

    gemm       unfold the patches (`gemm.py`) or the rows (`rows.py`) and multiply: any kernel, any stride
    fft        Fourier tiles, a complex product a frequency   stride 1; best for 7x7 and larger
    cook-toom  real tiles, a real product a point             stride 1, best for 3x3

The last two are one machine (`transform.py`) with two bases (`fourier.py`, `cooktoom.py`); `plan.py`
estimates costs and `tiles.py` cuts maps.  All that is numpy's, and runs on every backend.  Where the backend has
a compiler, there are loops of their own (`loops/`), which are quicker:

    gemm-direct     a product that unfolds nothing (`direct.py`)
    cook-toom, fft  the same tiles and some larger ones, in three loops (`fused.py`)

Arrays are (N, C, H, W) to the caller; their order in memory is what each way likes.  numpy's have the
pictures last, (C, H, W, N), so that every copy of a patch or tile, every pool and every Fourier
transform works on runs of N neighbours, and a product over channels needs no reordering.  The
compiled ones have the channels last, (N, H, W, C), and vectors of them.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache, partial

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution import direct, gemm, rows
from overfeat_tools.convolution.cooktoom import CookToomBasis
from overfeat_tools.convolution.ending import Ending, rectify
from overfeat_tools.convolution.fourier import FourierBasis
from overfeat_tools.convolution.fused import FusedTiles
from overfeat_tools.convolution.geometry import Geometry, stretches
from overfeat_tools.convolution.panels import panel_width
from overfeat_tools.convolution.plan import RATES, Budget, Rates, Way, is_compiled, ways
from overfeat_tools.convolution.pooling import pool
from overfeat_tools.convolution.tiles import cut
from overfeat_tools.convolution.transform import Tiled

# A way must be estimated this much quicker than what is ready, or changing is not worth the doubt.
_WORTH_CHANGING = 0.95

_TILED_KEPT = 8

# Channels brought together at a time by `pictures_last`.
_CHANNELS = 32
_SMALL_MAP_FLOATS = 1 << 16

METHODS = ("auto", "gemm", "fft", "cook-toom")

Room = Callable[[tuple[int, ...]], FloatArray]

__all__ = ["METHODS", "Budget", "Convolution", "Geometry", "Rates", "Room", "Way", "pictures_last", "pool", "rectify"]


def channels_last(x: Array) -> FloatArray:
    """Give `x` (N, C, H, W) as a contiguous float32 array (N, H, W, C); no copy if it already is."""
    array: FloatArray = np.ascontiguousarray(x.transpose(0, 2, 3, 1), np.float32)
    return array


def pictures_last(x: Array, backend: Backend) -> FloatArray:
    """Give `x` (N, C, H, W) as a contiguous float32 array (C, H, W, N); no copy if it already is."""
    source = x.transpose(1, 2, 3, 0)
    if source.dtype == np.float32 and source.flags.c_contiguous:
        return source
    array: FloatArray = backend.empty(source.shape)
    # A small one is sooner copied than shared out.
    some = stretches(len(source), backend.at_once(_CHANNELS) if source.size > _SMALL_MAP_FLOATS else len(source))

    def copy(number: int) -> None:
        # Where the channels are neighbours, the pictures are far apart, and by such steps that a cache holds only a few
        # of them: some channels of all are first brought together, which is 8 times as fast as going there for each.
        together = backend.xp.ascontiguousarray(source[some[number]].transpose(1, 2, 3, 0), np.float32)
        array[some[number]] = together.transpose(3, 0, 1, 2)

    backend.share(copy, len(some))
    return array


def compiled_panel_width(backend: Backend) -> int:
    """Give the kernels of a panel of the compiled product, 0 where there is none."""
    return panel_width(backend.compiler) if backend.compiler else 0


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
        self._fused = lru_cache(_TILED_KEPT)(partial(_fused, backend))

    @cached_property
    def _parameters(self) -> tuple[FloatArray, FloatArray]:
        """Kernels and biases on the device; brought there once, by the first batch."""
        return self._backend.array(self.weight), self._backend.array(np.ascontiguousarray(self.bias, np.float32))

    def geometry(self, height: int, width: int, squares: int = 1) -> Geometry:
        """Give the sizes of this convolution on one map size.

        Where maxima of squares are wanted they are those of a map so much smaller that none are left over.
        """
        kernels, channels, kernel_height, kernel_width = self.weight.shape
        whole = Geometry(channels, height, width, kernels, kernel_height, kernel_width, self.stride, self.padding)
        if squares > min(whole.out_height, whole.out_width):
            return whole
        return replace(
            whole,
            height=height - self.stride * (whole.out_height % squares),
            width=width - self.stride * (whole.out_width % squares),
        )

    def __call__(
        self, x: Array, threshold: float | None = None, squares: int = 1, room: Room | None = None
    ) -> FloatArray:
        """Convolve a batch.

        Parameters
        ----------
        x : array (N, C, H, W) float32
            Any memory order; the one of the result of the layer before is the fast one.
        threshold : float, optional
            Clear all outputs that are not above it.
        squares : int
            The maximum of each square of so many outputs a side is all that is wanted.
        room : callable, optional
            Gives memory for a shape; by default a new array.  It may be asked twice.

        Returns
        -------
        array (N, K, out_height // squares, out_width // squares) float32
            In any memory order.
        """
        pictures, _, height, width = x.shape
        wanted = self.geometry(height, width, squares)
        way = self.choose(pictures, wanted)
        self.used[str(way)] += 1
        weight, bias = self._parameters
        ending = Ending(bias, threshold, self._backend)
        room = room or self._backend.empty
        if self._is_compiled(way, wanted):
            return self._compiled(way, channels_last(x), weight, wanted, ending, squares, room)
        # numpy's ways take the map as it is: to leave out what no square covers would cost a copy.
        geometry = self.geometry(height, width)
        source = pictures_last(x, self._backend)

        def output(squares: int) -> FloatArray:
            return room((geometry.kernels, geometry.out_height // squares, geometry.out_width // squares, len(x)))

        if way.method == "gemm":
            y = output(1)
            gemm.convolve(source, weight, y, geometry, self._backend, ending)
            if squares > 1:
                y = pool(y, squares, self._backend)
        elif way.method == "gemm-rows":
            (kernels,) = self._prepared(way, lambda: [rows.prepare(weight, geometry, self._backend)])
            y = output(squares)
            rows.convolve(source, kernels, y, geometry, self._backend, ending, squares)
        else:
            tiled = self._tiled(way.method, way.size, geometry)
            spectra = self._prepared(way, lambda: tiled.transform_kernels(weight))
            inside = squares if tiled.tiling.holds(squares) else 1
            y = output(inside)
            tiled.convolve(source, spectra, y, ending, inside)
            if inside != squares:
                y = pool(y, squares, self._backend)
        result: FloatArray = y.transpose(3, 0, 1, 2)
        return result

    def _compiled(
        self, way: Way, x: FloatArray, weight: FloatArray, geometry: Geometry, ending: Ending, squares: int, room: Room
    ) -> FloatArray:
        """Convolve `x` (N, H, W, C), at least as large as the geometry says, in one of the ways that are compiled."""

        def output(squares: int) -> FloatArray:
            return room((len(x), geometry.out_height // squares, geometry.out_width // squares, geometry.kernels))

        if way.method == "gemm-direct":
            (panels,) = self._prepared(way, lambda: [direct.prepare(weight, geometry, self._backend)])
            y = output(squares)
            direct.convolve(x, panels, y, geometry, self._backend, ending, squares)
        else:
            tiles = self._fused(way.method, way.size, geometry)
            spectra = self._prepared(way, lambda: tiles.transform_kernels(weight))
            inside = squares if tiles.tiling.holds(squares) else 1
            y = output(inside)
            tiles.convolve(x, spectra, y, ending, inside)
            if inside != squares:
                y = ending.pool(y, squares)
        result: FloatArray = y.transpose(0, 3, 1, 2)
        return result

    def _is_compiled(self, way: Way, geometry: Geometry) -> bool:
        return is_compiled(way.method, way.size, geometry, self._panel_width)

    @property
    def _panel_width(self) -> int:
        return compiled_panel_width(self._backend)

    def choose(self, pictures: int, geometry: Geometry) -> Way:
        """Choose how to compute a batch, weighing spectra that would have to be made first.

        Spectra are bought like skis: after renting (a slower way that is ready) has cost as much
        more as buying, buy.  Whatever comes, that takes at most twice the best possible time, so
        one picture never waits for spectra that only a long stream pays back.  Among those that have paid, the ones are
        bought that will have gained most after one more batch of this kind: what has gone on so long will go
        on.  Loading the compiled loops is bought in the same way, by all layers together.
        """
        way = self._choose(pictures, geometry)
        compiler = self._backend.compiler
        if compiler and self._is_compiled(way, geometry) and not compiler.usable():
            self._backend.drop_compiler()
            return self._choose(pictures, geometry)
        return way

    def _choose(self, pictures: int, geometry: Geometry) -> Way:
        found = self._candidates(pictures, geometry)
        ready = next((way for way in found if not way.spectra_bytes or way.key in self._spectra), found[0])
        if self.method != "auto":
            return next((way for way in found if way is ready or self._fits(way)), ready)
        loaded = self._loading_is_paid()
        best, most = ready, 0.0
        for way in found:
            if way.seconds > _WORTH_CHANGING * ready.seconds:
                break
            gain = ready.seconds - way.seconds
            missed = self._missed_seconds[way.key] = self._missed_seconds.get(way.key, 0.0) + gain
            offered = loaded or not self._is_compiled(way, geometry)
            paid = missed - way.price_seconds
            if offered and paid > 0.0 and paid + gain > most and self._fits(way):
                best, most = way, paid + gain
        return best

    def _loading_is_paid(self) -> bool:
        """Tell whether all layers together have missed what loading the compiled loops takes."""
        compiler = self._backend.compiler
        if compiler is None or compiler.loaded:
            return True
        return compiler.cache is not None and compiler.cache.exists

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
        compiler = self._backend.compiler
        loaded = compiler is not None and compiler.loaded
        key = (pictures, geometry.height, geometry.width, self._panel_width, loaded)
        if key not in self._ways:
            found = ways(geometry, pictures, self._rates, self._panel_width, loaded=loaded)
            if self.method != "auto":
                wanted = [way for way in found if way.method.startswith(self.method)]
                found = wanted + [way for way in found if way.method == "gemm" and way not in wanted]
            self._ways[key] = found
        return self._ways[key]


def _tiled(backend: Backend, method: str, size: tuple[int, int], geometry: Geometry) -> Tiled:
    tiling = cut(geometry, *size)
    basis = FourierBasis if method == "fft" else CookToomBasis
    return Tiled(geometry, tiling, basis(geometry, tiling, backend), backend)


def _fused(backend: Backend, method: str, size: tuple[int, int], geometry: Geometry) -> FusedTiles:
    return FusedTiles(method, geometry, cut(geometry, *size), backend)
