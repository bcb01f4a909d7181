"""Fit the rates of the cost model to this machine: run some ways, see what they took.

The ways are those of the engine itself, on layers like the networks' but smaller.  With m their seconds
and e(r) the model's estimates, the rates r minimise

    sum of (log e(r) - log m)**2  +  trust**2 * sum of (log r - log (s * shipped))**2,

where s is how much faster than shipped the machine is on the whole: only ratios between rates decide, and those
that the runs tell little of stay as they were shipped.  Logarithms, because a factor counts as much up as down.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Backend
from overfeat_tools.convolution import Convolution, channels_last, compiled_panel_width
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.plan import RATES, Rates, Way, estimate, is_compiled

_TURNS = 3
_PURCHASES = 2
_LEAST_PRICE = 0.1
_SMALL_SPECTRA_BYTES = 1 << 20
# So much that a machine must differ before it counts.  With less, the rates made up for what the model leaves out: at
# 0.15 the ways chosen were 3 % worse than with the shipped rates, at 1 a little better.
_TRUST = 1.0
_STEPS = 12

# Rates that are no speeds, and don't grow with the machine's.
_SHAPES = ("half_columns", "half_complex_columns", "half_run")

_FIRST = Geometry(3, 111, 111, 96, 7, 7, stride=2)
_SECOND = Geometry(96, 28, 28, 256, 5, 5)
_LATER = Geometry(512, 12, 12, 512, 3, 3, padding=1)

# Geometry, pictures, method, size of the tiles.  Where there is a compiler, its loops are measured wherever the engine
# would use them, as in most of these.
_RUNS = (
    (_FIRST, 1, "gemm", 0),
    (_FIRST, 1, "gemm-rows", 0),
    (_FIRST, 16, "gemm-rows", 0),
    (_SECOND, 1, "fft", 10),
    (_SECOND, 1, "fft", 16),
    (_SECOND, 1, "cook-toom", 7),
    (_SECOND, 16, "fft", 16),
    (_SECOND, 16, "fft", 32),
    (_LATER, 1, "gemm", 0),
    (_LATER, 1, "fft", 8),
    (_LATER, 1, "cook-toom", 4),
    (_LATER, 1, "cook-toom", 6),
    (_LATER, 1, "cook-toom", 7),
    (_LATER, 4, "cook-toom", 6),
    (_LATER, 4, "cook-toom", 7),
    (_LATER, 8, "gemm", 0),
    (_LATER, 16, "fft", 14),
    (_LATER, 16, "cook-toom", 6),
)
_COMPILED_RUNS = (
    (_FIRST, 1, "gemm-direct", 0),
    (_FIRST, 16, "gemm-direct", 0),
    (_LATER, 4, "gemm-direct", 0),
    (_SECOND, 16, "cook-toom", 6),
    (_LATER, 1, "cook-toom", 5),
)


@dataclass(frozen=True)
class Measured:
    """What one way took: a batch, and making its spectra (0: none, or too small to measure)."""

    geometry: Geometry
    pictures: int
    way: Way
    seconds: float
    price_seconds: float
    panel_width: int = 0


def runs(panel_width: int) -> list[tuple[Geometry, int, str, int]]:
    """List what is measured, with or without compiled loops."""
    return [*_RUNS, *(_COMPILED_RUNS if panel_width else ())]


def fit(backend: Backend) -> Rates:
    """Measure this machine's rates, for about two seconds.

    A machine that is busy with something else is measured as slow as it is then.
    """
    panel_width = compiled_panel_width(backend)
    return fitted([_measure(backend, panel_width, *run) for run in runs(panel_width)], RATES[backend.name])


def _measure(
    backend: Backend, panel_width: int, geometry: Geometry, pictures: int, method: str, size: int
) -> Measured:
    way = estimate(method, (size, size), geometry, pictures, RATES[backend.name], panel_width)
    generator = np.random.default_rng(0)
    shape = (geometry.kernels, geometry.channels, geometry.kernel_height, geometry.kernel_width)
    weight, bias = generator.standard_normal(shape, np.float32), np.zeros(geometry.kernels, np.float32)
    convolution = _OneWay(
        weight, bias, backend=backend, stride=geometry.stride, padding=geometry.padding
    )  # fmt: skip
    convolution.way = way
    shape = (geometry.channels, geometry.height, geometry.width, pictures)
    x = generator.standard_normal(shape, np.float32).transpose(3, 0, 1, 2)
    if is_compiled(way.method, way.size, geometry, panel_width):
        x = channels_last(x).transpose(0, 3, 1, 2)
    with backend.computing():
        x = backend.upload(x)
        buying = [convolution.seconds(backend, x, buying=True) for _ in range(1 + _PURCHASES)]
        least = min(convolution.seconds(backend, x) for _ in range(_TURNS))
    # The first call of all has other things to make, too.
    price = max(min(buying[1:]) - least, _LEAST_PRICE * least) if way.spectra_bytes > _SMALL_SPECTRA_BYTES else 0.0
    return Measured(geometry, pictures, way, least, price, panel_width)


class _OneWay(Convolution):
    """A convolution that is told what to do."""

    way: Way

    def choose(self, pictures: int, geometry: Geometry) -> Way:  # noqa: ARG002 -- as the one it replaces
        """Give the way it was told."""
        return self.way

    def seconds(self, backend: Backend, x: npt.NDArray[np.float32], *, buying: bool = False) -> float:
        """Measure one batch, spectra included if they are to be bought anew."""
        if buying:
            self._spectra.clear()
        start = perf_counter()
        backend.download(self(x))()
        return perf_counter() - start


def fitted(measured: list[Measured], shipped: Rates) -> Rates:
    """Find the rates with which the model comes nearest to what was measured, by Gauss and Newton's steps.

    Parameters
    ----------
    measured : list of Measured
    shipped : Rates
        Where to start, and what to stay near to.
    """
    names = [name for name, value in asdict(shipped).items() if value]
    speeds = np.array([name not in _SHAPES for name in names])
    middle = np.log([getattr(shipped, name) for name in names])
    middle[speeds] += np.mean(_misses(measured, shipped))

    def misses(logarithms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        rates = replace(shipped, **dict(zip(names, np.exp(logarithms).tolist(), strict=True)))
        return np.concatenate([list(_misses(measured, rates)), _TRUST * (logarithms - middle)])

    now = middle
    for _ in range(_STEPS):
        here = misses(now)
        slopes = np.stack([(misses(now + step) - here) / 1e-4 for step in 1e-4 * np.eye(len(now))], axis=1)
        # No step by more than a factor of 2: the model's maxima make its slopes jump.
        now = now - np.clip(np.linalg.lstsq(slopes, here, rcond=None)[0], -np.log(2), np.log(2))
    best = min((middle, now), key=lambda logarithms: float(np.sum(misses(logarithms) ** 2)))
    return replace(shipped, **dict(zip(names, np.exp(best).tolist(), strict=True)))


def _misses(measured: list[Measured], rates: Rates) -> list[float]:
    """Give the logarithms of estimate / measurement."""

    def each() -> Iterator[float]:
        for one in measured:
            way = estimate(one.way.method, one.way.size, one.geometry, one.pictures, rates, one.panel_width)
            yield np.log(way.seconds / one.seconds)
            if one.price_seconds:
                yield np.log(way.price_seconds / one.price_seconds)

    return list(each())
