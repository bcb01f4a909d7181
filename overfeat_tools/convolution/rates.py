"""How fast a machine does what convolutions are made of: the constants of the cost model.

Only the ratios between the rates matter, and those are much the same on most machines.  The first group of the
processor's lies between what was fitted on two cores with AVX-512 and on two with AVX2.  The second is rounded from
what `benchmarks/fit_rates.py` fitted on two cores with AVX-512 that others used, too, to processor time instead of
time: with it, the portable algorithms chosen for the convolutions of both large networks, for 1 to 32 pictures, took
0.2 % longer than the best ones on average, and 7 % at worst.
"""

from dataclasses import dataclass, replace

from overfeat_tools.backend import Backend


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second, all threads together; the processor's are those of two threads.

    The first group is for compiled kernels, the second for numpy, FFTW or cupy.  `half_rows` is the number of rows
    at which a library's matrix product reaches half of its peak; `card_flops` is for products in a card's own kernels.
    """

    memory_bytes: float = 35e9
    compiled_flops: float = 330e9
    compiled_tile_bytes: float = 44e9
    pack_panel_bytes: float = 1.5e9
    pack_tile_bytes: float = 4.5e9
    compiled_stages: float = 1e5

    blas_flops: float = 200e9
    complex_blas_flops: float = 240e9
    half_rows: float = 20.0
    half_complex_rows: float = 16.0
    unfold_bytes: float = 1.6e9
    copy_bytes: float = 4.8e9
    fft_flops: float = 25e9
    pack_spectrum_bytes: float = 1e9
    stages: float = 7e3
    card_flops: float = 25e12

    def for_threads(self, threads: int) -> "Rates":
        """Give the rates of so many threads, given those of two.

        Computing grows with the threads, reading memory hardly: it is taken to reach three times the rate of two
        threads in the end, and copying, much of it in caches that each core has for itself, five times.
        """
        computing, reading, copying = threads / 2, _saturating(threads, 4), _saturating(threads, 8)
        factors = {
            "memory_bytes": reading, "compiled_flops": computing, "compiled_tile_bytes": copying,
            "pack_panel_bytes": copying, "pack_tile_bytes": copying, "blas_flops": computing,
            "complex_blas_flops": computing, "unfold_bytes": copying, "copy_bytes": copying, "fft_flops": computing,
            "pack_spectrum_bytes": copying,
        }  # fmt: skip
        return replace(self, **{name: getattr(self, name) * factor for name, factor in factors.items()})

    def for_lanes(self, lanes: int) -> "Rates":
        """Give the rates of vectors of so many floats, given those of 8 and 16.

        A core with NEON multiplies and adds 8 pairs of floats in a cycle (Neoverse N1, two units) to 16 (V1, V2 and
        Apple's, four), one with AVX2 or AVX-512 16 to 32.  Its transforms of tiles move 2 bytes with each instruction,
        those of AVX2 and AVX-512 5 to 12 (`benchmarks/instructions.py`).  So all that computes is taken to take twice
        the time, and all that waits for memory as much as elsewhere.  Counted, not measured.
        """
        if lanes > _NARROW:
            return self
        halved = "compiled_flops", "compiled_tile_bytes", "blas_flops", "complex_blas_flops", "fft_flops"
        return replace(self, **{name: getattr(self, name) / 2 for name in halved})

    def compiled_seconds(self, flops: float, weight_bytes: float) -> float:
        """Estimate a compiled product, which computes and reads its weights at the same time, if not quite."""
        computing, reading = flops / self.compiled_flops, weight_bytes / self.memory_bytes
        return max(computing, reading) + min(computing, reading) / 6

    def blas_seconds(self, flops: float, rows: int, weight_bytes: float, *, is_complex: bool = False) -> float:
        """Estimate a library's product: skinny ones are slow, and none is faster than its weights can be read."""
        peak = self.complex_blas_flops if is_complex else self.blas_flops
        half = self.half_complex_rows if is_complex else self.half_rows
        return max(flops / peak * (rows + half) / rows, weight_bytes / self.memory_bytes)


# Vectors of so many floats, NEON's, are narrow.
_NARROW = 4


def _saturating(threads: int, half: int) -> float:
    """Give how much faster so many threads are than two, where `half` of them reach half of what there is."""
    return threads * (2 + half) / (2 * (threads + half))


RATES = {
    "cpu": Rates(),  # of two threads
    # Estimates for a data-centre card (50 TFLOP/s in float32, 3 TB/s), not fitted.
    "cuda": Rates(
        memory_bytes=3e12,
        blas_flops=50e12,
        complex_blas_flops=45e12,
        half_rows=128.0,
        half_complex_rows=32.0,
        unfold_bytes=1e12,
        copy_bytes=1.5e12,
        fft_flops=2e12,
        pack_spectrum_bytes=100e9,
        pack_tile_bytes=200e9,
    ),
}
"""By the backend's name."""

# How much faster a card's products are with factors of fewer bits: guesses, too.
_FASTER = {"float32": 1.0, "tf32": 5.0, "half": 10.0}


def rates_of(backend: Backend) -> Rates:
    """Give the rates of a device, with as many threads as can run at the same time."""
    rates, factor = RATES[backend.name], _FASTER[backend.precision]
    rates = replace(rates, blas_flops=factor * rates.blas_flops, complex_blas_flops=factor * rates.complex_blas_flops)
    if backend.compiler:
        rates = rates.for_lanes(backend.compiler.lanes)
    return rates.for_threads(backend.parallel) if backend.name == "cpu" else rates
