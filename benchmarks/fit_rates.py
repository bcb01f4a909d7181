"""Fit the rates of the cost model to this machine, and tell how well they choose algorithms.

Every algorithm that is a candidate for a convolution of the large networks is measured on random numbers, for several
batches.  With m what a measurement took and e(r) its estimate, the fitted rates r minimise

    mean of log(e(r) / m)**2  +  TRUST**2 * sum of log(r / (s * shipped))**2,

where s is how much faster this machine is on the whole than the shipped rates say.  Logarithms, because twice and half
are equally wrong.  Rates about which the measurements say little thus stay near the shipped ones, as only the ratios
between rates matter.  Rates that no estimate uses are left out.

On a card several runs are queued before one is waited for, as in a pass.  Its shipped rates were never fitted, so more
is measured there; `--kernels` adds the algorithms that have not run on a card yet, and `--seconds` bounds it all.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt
from measure import markdown, warn_if_busy
from subject import Convolved, convolutions

from overfeat_tools.backend import Array, Backend, CpuBackend, open_backend
from overfeat_tools.backend.cuda import Paths, open_cuda
from overfeat_tools.convolution import RATES, Convolution, Rates
from overfeat_tools.convolution.algorithm import Algorithm
from overfeat_tools.convolution.planner import estimate, list_algorithms
from overfeat_tools.networks.network import PACKED_LIMIT_BYTES
from overfeat_tools.networks.topology import ACCURATE, FAST

BATCHES = (1, 2, 4, 8, 16, 32)
NETWORKS = {topology.name: topology for topology in (FAST, ACCURATE)}

# What is estimated to take so many times as long as the best is not measured; where rates are guesses, more is.
_HOPELESS, _HOPELESS_BY_GUESS = 3.0, 8.0
# Runs of a card that are queued before one is waited for.
_QUEUED = 8
# A measurement is repeated for so long, and at least once.
_TURN_SECONDS = 0.05

# How much to trust the shipped rates.  Of 0.5, 0.15 and 0.05, the last chose best among the portable algorithms; with
# far less, rates make up for what the model leaves out, and no longer mean what they are called.
_TRUST = 0.05
_STEPS = 12
_FEW_BYTES = 1 << 20

# Rates that are no speeds: a faster machine has the same.
_NUMBERS_OF_ROWS = ("half_rows", "half_complex_rows")

Logarithms = npt.NDArray[np.float64]


@dataclass
class Sample:
    """What a batch took by an algorithm, at best."""

    layer: str
    algorithm: Algorithm
    pictures: int
    seconds: float = math.inf


@dataclass
class Packing:
    """What an algorithm's packing took, at best."""

    algorithm: Algorithm
    seconds: float = math.inf


class Subject:
    """A convolution of a network, with random weights, computed by one algorithm after another."""

    def __init__(self, layer: str, one: Convolved, backend: Backend, batches: Sequence[int]) -> None:
        self._layer, self._one, self._backend, self._batches = layer, one, backend, batches
        self._queued, self._hopeless = (_QUEUED, _HOPELESS_BY_GUESS) if backend.name == "cuda" else (1, _HOPELESS)
        geometry, generator = one.geometry, np.random.default_rng(0)
        shape = (geometry.kernels, geometry.channels, geometry.kernel_height, geometry.kernel_width)
        self._convolution = Convolution(
            generator.standard_normal(shape, np.float32), np.zeros(geometry.kernels, np.float32),
            backend=backend, stride=geometry.stride, padding=geometry.padding,
        )  # fmt: skip
        maps = (batches[-1], geometry.height, geometry.width, geometry.channels)
        with backend.computing():
            self._x = backend.to_device(generator.standard_normal(maps, np.float32))

    def measure(self, rounds: int) -> tuple[list[Sample], list[Packing]]:
        """Measure all algorithms in turn, so that a slow minute of the machine hits all alike."""
        samples: dict[str, list[Sample]] = {}
        algorithms = list_algorithms(self._one.geometry, self._backend)
        for pictures in self._batches:
            found = estimate(algorithms, pictures, RATES[self._backend.name])
            for algorithm, seconds in found:
                if seconds < self._hopeless * found[0].seconds and algorithm.packed_bytes <= PACKED_LIMIT_BYTES:
                    samples.setdefault(str(algorithm), []).append(Sample(self._layer, algorithm, pictures))
        packings = {name: Packing(some[0].algorithm) for name, some in samples.items()}
        for _ in range(rounds):
            for name, some in samples.items():
                packing = packings[name]
                packing.seconds = min(packing.seconds, self._pack(packing.algorithm))
                for sample in some:
                    sample.seconds = min(sample.seconds, self._run(sample.algorithm, sample.pictures))
        packed = [one for one in packings.values() if one.algorithm.packed_bytes > _FEW_BYTES]
        return [sample for some in samples.values() for sample in some], packed

    def _pack(self, algorithm: Algorithm) -> float:
        """Time a batch of one that packs the weights, less one that does not."""
        self._convolution.packed.clear()
        packing = self._seconds(algorithm, self._x[:1], 1)
        return max(packing - self._run(algorithm, 1), packing / 10)

    def _run(self, algorithm: Algorithm, pictures: int) -> float:
        x = self._x[:pictures]
        self._seconds(algorithm, x, 1)  # workspace and plans are made once
        until, best = perf_counter() + _TURN_SECONDS, math.inf
        while best == math.inf or perf_counter() < until:
            best = min(best, self._seconds(algorithm, x, self._queued))
        return best

    def _seconds(self, algorithm: Algorithm, x: Array, count: int) -> float:
        with self._backend.computing():
            start = perf_counter()
            for _ in range(count):
                y = self._convolution.run(algorithm, x, 1e-6, self._one.pool_size)
            # A single number waits for all of a device's work, and takes no time to bring back.
            self._backend.download(y[:1, :1, :1, :1])()
            return (perf_counter() - start) / count


def fitted(shipped: Rates, misses: Callable[[Rates], list[float]]) -> Rates:
    """Find the rates that come nearest to what was measured, by Gauss-Newton steps.

    Parameters
    ----------
    shipped : Rates
        Where to start, and what to stay near to.
    misses : callable
        The logarithms of estimate / measurement.
    """
    first = misses(shipped)
    names = [name for name, rate in asdict(shipped).items() if misses(replace(shipped, **{name: rate / 1e6})) != first]
    speeds = np.array([name not in _NUMBERS_OF_ROWS for name in names])
    middle = np.log([getattr(shipped, name) for name in names])
    middle[speeds] += np.mean(first)

    def rates(logarithms: Logarithms) -> Rates:
        return replace(shipped, **dict(zip(names, np.exp(logarithms).tolist(), strict=True)))

    def residuals(logarithms: Logarithms) -> Logarithms:
        missed = np.array(misses(rates(logarithms))) / math.sqrt(len(first))
        return np.concatenate([missed, _TRUST * (logarithms - middle)])

    now = middle
    for _ in range(_STEPS):
        here = residuals(now)
        slopes = np.stack([(residuals(now + step) - here) / 1e-4 for step in 1e-4 * np.eye(len(now))], axis=1)
        # No step by more than a factor of 2: where the model takes a maximum its slopes jump.
        now = now - np.clip(np.linalg.lstsq(slopes, here)[0], -np.log(2), np.log(2))
    return rates(min((middle, now), key=lambda logarithms: float(np.sum(residuals(logarithms) ** 2))))


def _misses(samples: list[Sample], packings: list[Packing], rates: Rates) -> list[float]:
    """Give the logarithms of estimate / measurement."""
    batches = [one.algorithm.seconds(one.pictures, rates) / one.seconds for one in samples]
    packed = [one.algorithm.packing_seconds(rates) / one.seconds for one in packings]
    return [math.log(ratio) for ratio in batches + packed]


def describe_choices(title: str, samples: list[Sample], rates: Rates) -> Iterator[str]:
    """Compare the algorithms that rates choose, were all weights packed, with the best ones measured."""
    cases: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        cases.setdefault((sample.layer, sample.pictures), []).append(sample)
    ratios, rows = [], []
    for (layer, pictures), some in cases.items():
        best = min(some, key=lambda one: one.seconds)
        chosen = min(some, key=lambda one: one.algorithm.seconds(one.pictures, rates))
        ratios.append(chosen.seconds / best.seconds)
        rows.append([
            layer, str(pictures), str(chosen.algorithm), str(best.algorithm),
            f"{1e3 * best.seconds:.2f}", f"{ratios[-1]:.2f}",
        ])  # fmt: skip
    mean, worst = statistics.mean(ratios), max(ratios)
    yield f"{title}: the algorithms chosen take {mean:.3f} times as long as the best on average, {worst:.2f} at worst."
    yield ""
    rows = [row for row in rows if row[2] != row[3]]
    yield from markdown(["convolution", "pictures", "chosen", "best", "best's ms", "ratio"], rows)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu", help="device (cpu)")
    parser.add_argument("--threads", type=int, help="threads (all)")
    parser.add_argument("--portable", action="store_true", help="measure the processor without compiled kernels")
    parser.add_argument("--kernels", action="store_true", help="with a card's kernels that are not default")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="pictures at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="measure no layer after so long (no limit)")
    parser.add_argument("--check", action="store_true", help="do not fit: only tell how well the shipped rates choose")
    parser.add_argument("--net", choices=NETWORKS, help="measure the convolutions of this network only")
    parser.add_argument("--rounds", type=int, default=3, help="rounds whose best counts (3)")
    return parser.parse_args(words)


def _backend(arguments: argparse.Namespace) -> Backend:
    if arguments.portable:
        return CpuBackend(arguments.threads, compiling=False)
    if arguments.kernels:
        return open_cuda(paths=Paths(kernels=True))
    backend = open_backend(arguments.device, arguments.threads)
    if backend.compiler:
        if backend.compiler.usable():
            backend.compiler.loaded = True  # as by the first kernel; gemm goes by it
        else:
            backend.compiler = None
    return backend


def main(words: Sequence[str] | None = None) -> None:
    """Measure, fit and print."""
    arguments = _arguments(words)
    warn_if_busy("fit_rates.py")
    backend, end = _backend(arguments), perf_counter() + arguments.seconds
    samples: list[Sample] = []
    packings: list[Packing] = []
    layers = [
        (f"{topology.name}, layer {number}", one)
        for topology in NETWORKS.values() if arguments.net in (None, topology.name)
        for number, one in convolutions(topology, topology.input_size, topology.input_size).items()
    ]  # fmt: skip
    for layer, one in layers:
        print(layer, file=sys.stderr, flush=True)
        measured = Subject(layer, one, backend, arguments.batches).measure(arguments.rounds)
        samples += measured[0]
        packings += measured[1]
        if perf_counter() > end:
            print("the rest is left out", file=sys.stderr)
            break
    shipped = RATES[backend.name]
    speed = math.exp(statistics.mean(_misses(samples, packings, shipped)))
    print(f"{backend}: {speed:.2f} times as fast as the shipped rates say\n")
    print("\n".join(describe_choices("Shipped rates", samples, shipped)))
    if not arguments.check:
        rates = fitted(shipped, lambda rates: _misses(samples, packings, rates))
        changed = {name: rate for name, rate in asdict(rates).items() if rate != getattr(shipped, name)}
        print("\n".join(describe_choices("Fitted rates", samples, rates)))
        print("Rates(", *(f"    {name}={rate:.2g}," for name, rate in changed.items()), ")", sep="\n")


if __name__ == "__main__":
    main()
