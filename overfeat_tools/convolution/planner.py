"""Which algorithm to use: what there is, what each costs, and what preparing one has to earn first.

A new algorithm is one file and one entry in `ALGORITHMS`.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from overfeat_tools.backend import Backend, Compiler
from overfeat_tools.convolution import compiled_sizes, gemm, indirect, portable_tiles, unpacked
from overfeat_tools.convolution.algorithm import Algorithm
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry
from overfeat_tools.convolution.rates import Rates
from overfeat_tools.errors import BackendError


def _of_cards(geometry: Geometry, backend: Backend) -> Iterator[Algorithm]:
    """Give a card's own algorithms, which a processor needn't load."""
    if backend.name == "cuda":
        from overfeat_tools.convolution import card_kernels

        yield from card_kernels.candidates(geometry, backend)


# Each gives the algorithms that suit a geometry on a device.
ALGORITHMS = (
    gemm.candidates, unpacked.candidates, indirect.candidates, compiled_sizes.candidates, portable_tiles.candidates,
    _of_cards,
)  # fmt: skip

# An algorithm must be estimated this much quicker than what is ready, or changing is not worth the doubt.
_WORTH_CHANGING = 0.95

# On two cores of this decade: importing llvmlite and loading the kernels of a network; compiling them.
_LOADING_SECONDS, _COMPILING_SECONDS = 0.05, 0.8


class Estimate(NamedTuple):
    """An algorithm, and the seconds it takes for a batch."""

    algorithm: Algorithm
    seconds: float


def list_algorithms(geometry: Geometry, backend: Backend, method: str = "auto") -> list[Algorithm]:
    """List the algorithms that suit a convolution; with a method those of the method, and gemm, which always does."""
    found = [algorithm for candidates in ALGORITHMS for algorithm in candidates(geometry, backend)]
    return [algorithm for algorithm in found if algorithm.is_offered(method) or str(algorithm) == "gemm"]


def estimate(
    algorithms: Sequence[Algorithm], pictures: int, rates: Rates, pool_size: int = 1
) -> list[Estimate]:
    """Estimate the algorithms for a batch, and for a pool that one doesn't hold; the cheapest come first."""

    def seconds(algorithm: Algorithm) -> float:
        taken = algorithm.seconds(pictures, rates)
        if algorithm.holds(pool_size):
            return taken
        # The map is written, and read again.
        geometry = algorithm.geometry
        moved = 2.0 * pictures * geometry.out_pixels * geometry.kernels * FLOAT_BYTES
        return taken + moved / (rates.memory_bytes if algorithm.is_compiled else rates.copy_bytes)

    return sorted((Estimate(one, seconds(one)) for one in algorithms), key=lambda one: one.seconds)


def choose(estimates: Sequence[Estimate], packed: Collection[str], *, kernels_loaded: bool) -> Estimate:
    """Choose the cheapest algorithm that is ready.

    Its weights are as they are, or packed as it needs them; its kernels, if it has any, have been loaded.
    """

    def is_ready(algorithm: Algorithm) -> bool:
        return algorithm.packing in packed if algorithm.packed_bytes else kernels_loaded or not algorithm.is_compiled

    return next(one for one in estimates if is_ready(one.algorithm))


# What reproducible choices are made for: any machine, a batch that is neither small nor large.
_TYPICAL_PICTURES = 32


def choose_reproducible(geometry: Geometry, pool_size: int, backend: Backend, method: str) -> Algorithm:
    """Choose an algorithm by the geometry alone, of those that add up in one order whatever the batch.

    Raises
    ------
    BackendError
        No compiled kernel suits; a library's sums depend on the sizes of its operands.
    """
    usable = backend.compiler is not None and backend.compiler.usable()
    found = [algorithm for algorithm in list_algorithms(geometry, backend) if usable and algorithm.is_compiled]
    wanted = [algorithm for algorithm in found if algorithm.method == method] or [
        algorithm for algorithm in found if algorithm.packing_seconds(Rates()) < math.inf
    ]
    if not wanted:
        raise BackendError("reproducible results need compiled kernels, and none suit this processor and network")
    best = estimate(wanted, _TYPICAL_PICTURES, Rates(), pool_size)[0].algorithm
    return replace(best, one_order=True) if isinstance(best, unpacked.Unpacked) else best


class Ledger:
    """What has been spent and lost, for all convolutions of a network: memory for packed weights, and time.

    Preparations are bought as skis are: once renting, that is a slower algorithm which is ready, has cost as much
    more as buying.  Whatever comes, that takes at most twice the best possible time, so one picture never waits for
    weights to be packed that only a long stream pays back.  Loading the compiled kernels is bought in the same way, by
    all convolutions together.
    """

    def __init__(self, rates: Rates, limit_bytes: float = math.inf, compiler: Compiler | None = None) -> None:
        self.rates, self.free_bytes = rates, limit_bytes
        self._compiler = compiler
        self._missed_kernel_seconds = 0.0

    def pays_for_kernels(self, missed_seconds: float) -> bool:
        """Note what one batch lost by going without compiled kernels; tell whether loading them has paid."""
        compiler = self._compiler
        if compiler is None or compiler.loaded:
            return True
        self._missed_kernel_seconds += max(missed_seconds, 0.0)
        are_kept = compiler.cache is not None and compiler.cache.exists
        return self._missed_kernel_seconds >= (_LOADING_SECONDS if are_kept else _COMPILING_SECONDS)

    def close(self) -> None:
        """Let the next run pay less for kernels, if this one has lost much: else many short runs never compile any."""
        compiler = self._compiler
        if compiler and compiler.cache and not compiler.loaded and self._missed_kernel_seconds > _COMPILING_SECONDS / 4:
            compiler.cache.create()


class Account:
    """What one convolution has packed, and what it has missed by not packing more.

    Parameters
    ----------
    ledger : Ledger
        Where memory is booked.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.packed_bytes = 0
        self._missed_seconds: dict[str, float] = {}

    def invest(self, estimates: Sequence[Estimate], ready: Estimate) -> Algorithm:
        """Book a batch; give the algorithm to run: the one that is ready, or one that it is time to prepare.

        Among those that have paid, that is the one which will have gained most after one more batch of this kind: what
        has gone on so long will go on.  What one would have lost in batches of another kind counts, too: else two would
        be packed in turn where two kinds of batches alternate.
        """
        compiled = next((one for one in estimates if one.algorithm.is_compiled), ready)
        kernels_pay = self._ledger.pays_for_kernels(ready.seconds - compiled.seconds)
        best, most = ready.algorithm, 0.0
        # Of those that share packed weights only the quickest counts.
        quickest: dict[str, Estimate] = {}
        for one in estimates:
            quickest.setdefault(one.algorithm.packing, one)
        for name, (algorithm, seconds) in quickest.items():
            gain = ready.seconds - seconds
            if seconds > _WORTH_CHANGING * ready.seconds:
                if name in self._missed_seconds:
                    self._missed_seconds[name] = max(0.0, self._missed_seconds[name] + gain)
                continue
            missed = self._missed_seconds[name] = self._missed_seconds.get(name, 0.0) + gain
            profit = missed - algorithm.packing_seconds(self._ledger.rates)
            offered = kernels_pay or not algorithm.is_compiled
            if offered and profit > 0.0 and profit + gain > most and self.fits(algorithm):
                best, most = algorithm, profit + gain
        return best

    def fits(self, algorithm: Algorithm) -> bool:
        """Tell whether there is memory for an algorithm's packed weights, in place of those that are there."""
        return algorithm.packed_bytes - self.packed_bytes <= self._ledger.free_bytes

    def replace(self, packed_bytes: int) -> None:
        """Note that other weights have been packed, in place of those that were there."""
        self._ledger.free_bytes -= packed_bytes - self.packed_bytes
        self.packed_bytes = packed_bytes
        self._missed_seconds.clear()
